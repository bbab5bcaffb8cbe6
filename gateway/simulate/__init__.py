"""
Simulation: the two neighbours of a gateway, for trying it out without a phone.

`softphone` is the phone platform: it plays recordings as calls. `listener` is the owner of the webhook: it verifies and
shows what arrives. Both speak only the public protocols and know nothing of the gateway's inside; `demo` puts them
around a gateway.
"""
