"""The closed list of kinds of evidence, strongest claim first."""

UNSEEN_TEMPLATE = "unseen-template"
RARE_TRANSITION = "rare-transition"
UNUSUAL_COUNTS = "unusual-counts"
NOVEL_CODE = "novel-code"
KINDS = (UNSEEN_TEMPLATE, RARE_TRANSITION, UNUSUAL_COUNTS, NOVEL_CODE)
