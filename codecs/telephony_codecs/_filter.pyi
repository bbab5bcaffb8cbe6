from typing_extensions import Buffer

def resample(signal: Buffer, weights: Buffer, up: int, down: int, first: int, last: int, /) -> bytes:
    """
    Outputs `first` to `last` of a signal that begins with the window of output 0.

    Args:
        signal: int16, native.
        weights: float64, a row per phase (`up` of them), all of the same width, a multiple of 8. Where `down` is 1, the
            first output of a period is the input in the middle of its window.
        up, down: outputs and inputs of a period.
        first, last: of the outputs; the last is excluded.

    Returns:
        int16, native.

    Raises:
        ValueError: the window of the last output does not begin within the signal, or a row of weights is not there.
    """
