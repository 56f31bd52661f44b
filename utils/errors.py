"""What may go wrong that the person at the keyboard can correct: one base class for all such
errors."""


class LumbarError(ValueError):
    """The message names the file, the study or the setting, and what to do next."""
