"""The suite's errors: what is wrong, where, and what to do next, in under ten lines."""


class CourseworkError(Exception):
    """Say what is wrong, where it was found, and what to do next."""

    def __init__(self, what, *, where=None, next_step=None):
        self.what, self.where, self.next_step = str(what), where, next_step
        super().__init__(self.what)

    def __str__(self):
        lines = [self.what]
        if self.where is not None:
            lines.append(f"  where: {self.where}")
        if self.next_step is not None:
            lines.append(f"  next:  {self.next_step}")
        return "\n".join(lines)

    def __reduce__(self):
        # Keyword-only fields do not survive Exception's own pickling, and worker processes send errors home by pickle.
        return (_rebuild, (type(self), self.what, self.where, self.next_step))

    def _render_traceback_(self):
        """Let IPython show these lines instead of a page of traceback: the mistake is in the input, not in the code."""
        return [f"{type(self).__name__}: {self}"]


def _rebuild(kind, what, where, next_step):
    return kind(what, where=where, next_step=next_step)


class DataError(CourseworkError):
    """The images cannot be read, or are not what they claim to be."""


class DownloadError(DataError):
    """The archive could not be fetched; what was received is kept for the next attempt."""


class DivergedError(CourseworkError):
    """A loss or a gradient is not finite; the step that would have ruined the weights was not taken."""


class CheckpointError(CourseworkError):
    """A training cannot resume from what is in its folder; nothing was changed."""


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written, copied or read; the training continues without it."""


class RecordWarning(UserWarning):
    """A part of a run's record could not be written; the training continues without it."""
