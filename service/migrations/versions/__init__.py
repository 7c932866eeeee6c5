"""One file a change, newest last."""
