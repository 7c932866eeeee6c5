"""Words that explanations and rules share: the closed list of kinds of evidence, strongest claim first."""

UNSEEN_TEMPLATE = "unseen-template"
RARE_TRANSITION = "rare-transition"
MISSING_EVENT = "missing-event"
UNUSUAL_COUNTS = "unusual-counts"
SILENCE = "silence"
PARAMETER = "parameter-out-of-range"
NOVEL_CODE = "novel-code"
KINDS = (UNSEEN_TEMPLATE, RARE_TRANSITION, MISSING_EVENT, UNUSUAL_COUNTS, SILENCE, PARAMETER, NOVEL_CODE)
# What a line is called whose template the bundle does not know begins so.
NEW = "(new) "
