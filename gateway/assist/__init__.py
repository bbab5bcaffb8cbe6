"""
Agent assist: finals become cues, by the operator's rules.

`rules` reads a file of rules, `finder` looks for them in what the tracks of a call say (both pure, with `words`
and `times`), `rules_file` follows the file while the gateway runs, `trial` tries rules on a transcript. Takes the
segments of `stt`; the call's reporter makes `assist.cue` events of what is found.
"""
