"""Server-rendered pages: plain data in, HTML out; usable without JavaScript, nothing fetched from elsewhere.

Map: `views` (the pages and their static files), `evidence` (a window as rows), `charts` (geometry of the inline SVG),
`text` (hostile log text made visible and marked), `formatting` (numbers and moments), `environment` (Jinja, autoescape
on). Templates beginning with an underscore hold macros shared with the one-file report (`service.report`).
"""

from service.pages.text import visible
from service.pages.views import render_home, render_incident, render_problem, render_window, static_file

__all__ = ["render_home", "render_incident", "render_problem", "render_window", "static_file", "visible"]
