"""One pocketsphinx decoder, utterance by utterance: words with times, and what was learnt of the channel meanwhile."""

import re
from typing import Any

import pocketsphinx

from gateway.events import Word
from telephony_codecs.formats import AudioFormat, Encoding

FORMAT = AudioFormat(Encoding.LINEAR16, 16000)

_FRAMES_PER_S = 100
# Until an utterance of this length was heard, the channel (line, handset, voice) counts as unknown.
_CHANNEL_BYTES = FORMAT.rate_hz * FORMAT.bytes_per_sample
# The dictionary marks a word's other pronunciations with (2), (3), …
_PRONUNCIATION = re.compile(r"\(\d+\)$")


class Decoder:
    """
    Hears linear16 at 16 kHz between `begin` and `finish`; not thread-safe.

    The acoustic model wants cepstra without the channel's mean (CMN). pocketsphinx starts from a mean that fits no
    telephone and corrects it over some ten seconds, so early utterances come out wrong. Therefore, while the channel is
    unknown, `finish` recognises the whole utterance once more with the mean of exactly its own audio; later utterances
    start from what was learnt. On short telephone prompts that took word errors from 98 % to 58 %.

    Args:
        lm: language model, which decoders of a process share: it is a third of their memory.
    """

    def __init__(self, lm: "pocketsphinx.NGramModel | None" = None) -> None:
        # loglevel FATAL keeps the library from writing to standard error. The second pass over the lexicon (fwdflat)
        # costs a quarter of the time and made no result better.
        self._decoder: Any = pocketsphinx.Decoder(loglevel="FATAL", fwdflat=False, lm=None)
        self.lm = lm or self._read_lm()
        self._decoder.add_lm("words", self.lm)
        self._decoder.activate_search("words")
        self._audio = bytearray()
        self._start_s = 0.0
        self._is_open = False
        self.knows_channel = False

    def _read_lm(self) -> Any:
        path = pocketsphinx.get_model_path("en-us/en-us.lm.bin")
        return pocketsphinx.NGramModel(self._decoder.config, self._decoder.logmath, path)

    def reset(self) -> None:
        """Forget the session: the next one must not depend on it. Allowed at any time."""
        if self._is_open:
            self._decoder.end_utt()
            self._is_open = False
        self._audio.clear()
        self._decoder.reinit_feat()
        self.knows_channel = False

    def begin(self, start_s: float) -> None:
        """Start an utterance; words count their time from `start_s`, which is when its first sample was heard."""
        self._start_s = start_s
        self._audio.clear()
        self._decoder.start_utt()
        self._is_open = True

    def hear(self, pcm: bytes) -> None:
        """Hear the next samples. The result depends slightly on how they are cut: only equal cuts give equal words."""
        if pcm:
            self._audio += pcm
            self._decoder.process_raw(pcm)

    @property
    def heard_bytes(self) -> int:
        """How much audio the utterance has so far."""
        return len(self._audio)

    def audio_from(self, at_s: float) -> bytes:
        """The utterance's audio from this time on."""
        sample = max(0, round((at_s - self._start_s) * FORMAT.rate_hz))
        return bytes(self._audio[sample * FORMAT.bytes_per_sample :])

    def words(self) -> tuple[Word, ...]:
        """The best guess so far, without confidence, which only the whole utterance gives."""
        return tuple(self._word(segment, confidence=None) for segment in self._segments())

    def finish(self) -> tuple[Word, ...]:
        """End the utterance and return its words; `audio_from` works until the next `begin`."""
        self._decoder.end_utt()
        self._is_open = False
        if not self.knows_channel and self._audio:
            # Without this `full_utt` has no effect: after the first live audio the library stays with the running mean.
            self._decoder.reinit_feat()
            self._decoder.start_utt()
            self._decoder.process_raw(bytes(self._audio), full_utt=True)
            self._decoder.end_utt()
            self.knows_channel = len(self._audio) >= _CHANNEL_BYTES
        # Posterior probability in the word lattice. Tried on telephone speech: below 0.2 one word in four was right,
        # above 0.8 more than four in five.
        return tuple(self._word(segment, confidence=min(1.0, segment.prob)) for segment in self._segments())

    def _segments(self) -> list[Any]:
        """The words of the best guess; not the fillers, such as <sil> and [NOISE]."""
        if self._decoder.hyp() is None:
            return []
        return [segment for segment in self._decoder.seg() if segment.word[0] not in "<["]

    def _word(self, segment: Any, confidence: float | None) -> Word:
        return Word(
            word=_PRONUNCIATION.sub("", segment.word),
            start_s=round(self._start_s + segment.start_frame / _FRAMES_PER_S, 3),
            # The end frame is inclusive.
            end_s=round(self._start_s + (segment.end_frame + 1) / _FRAMES_PER_S, 3),
            confidence=None if confidence is None else round(confidence, 3),
        )
