"""
Serve speech-to-text APIs to their own clients: the second door to the recognisers.

`pulse` (two routes), `lightning` and `slng` are pure protocols, `base` what any such protocol offers, `parameters` and
`riff` what they share. `conversation` is the one driver (WebSocket ↔ protocol ↔ recogniser) with its queue `outbound`;
`routes` is the door: who may come in, and with how many others. `prerecorded` is the pure protocol of whole
recordings, `uploads` its routes; `capabilities` says what each route honours, `overview` serves that. Behind the seam
`gateway.stt.base` stands any engine.
"""
