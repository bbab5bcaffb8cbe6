"""
Speech-to-text: the recogniser session of each track, and whole recordings.

`session` takes a track's chunks from `media` and turns what a recogniser says into segments in call time, for
`transcript`. `base` is the seam to recognisers; vendors' protocols are pure, one file each, behind one thin driver
(`client`); `profiles` opens sessions by name. The recogniser that runs on this machine is in `engines`.

`recordings` has whole recordings recognised, by a session or by a batch service: `batch` is that protocol,
`batch_client` its driver, `parts` cuts what is too long for it.
"""
