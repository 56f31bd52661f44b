"""What the viewer cannot show: an unknown study, or predictions that are not usable."""

from utils.errors import LumbarError


class ViewerError(LumbarError):
    """The message names the study, or the column or row of the predictions."""
