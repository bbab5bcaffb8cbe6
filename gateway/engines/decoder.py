"""One pocketsphinx decoder, utterance by utterance: words with times, and what was learnt of the channel meanwhile."""

import re
from enum import Enum, auto
from pathlib import Path
from typing import Any

import pocketsphinx

from gateway.events import Word
from telephony_codecs.formats import AudioFormat, Encoding

FORMAT = AudioFormat(Encoding.LINEAR16, 16000)
DATA = Path(__file__).parent / "data"

_FRAMES_PER_S = 100
# Until an utterance of this length was heard, the channel (line, handset, voice) counts as unknown.
_CHANNEL_BYTES = FORMAT.rate_hz * FORMAT.bytes_per_sample
# The library weighs the mean it starts from like so many frames.
_START_FRAMES = 500
# The first cepstrum is the level: this is some 5 dB. Further off, recognition by the start-up mean suffers.
_LEVEL_TOLERANCE = 6.0
# The dictionary marks a word's other pronunciations with (2), (3), …
_PRONUNCIATION = re.compile(r"\(\d+\)$")


class Band(Enum):
    """What the speech went through before it came here; decides how the acoustic model is set up."""

    WIDE = auto()
    TELEPHONE = auto()

    @classmethod
    def of(cls, form: AudioFormat) -> "Band":
        """The band of audio that comes in this form: 8 kHz hold no more than the telephone's."""
        return cls.TELEPHONE if form.rate_hz <= 8000 else cls.WIDE


def _options(band: Band) -> dict[str, Any]:
    """What a decoder of this band is loaded with; measured in docs/recogniser.md."""
    # loglevel FATAL keeps the library from writing to standard error. The second pass over the lexicon (fwdflat) costs
    # a quarter of the time and made no result better.
    options: dict[str, Any] = {"loglevel": "FATAL", "fwdflat": False, "lm": None}
    if band is Band.TELEPHONE:
        options |= {
            "mllr": str(DATA / "telephone.mllr"),
            "cmninit": (DATA / "telephone.cmn").read_text().strip(),
            # More densities per codebook make up for blurred sounds; narrower beams pay for it.
            "topn": 6,
            "wbeam": 1e-24,
            "lponlybeam": 1e-24,
            "maxhmmpf": 6000,
        }
    return options


class Decoder:
    """
    Hears linear16 at 16 kHz between `begin` and `finish`; not thread-safe.

    The acoustic model was trained on wide-band speech. For the telephone band its means are transformed (MLLR), with
    what `scripts/adapt` made of recordings in both bands.

    The model also wants cepstra without the channel's mean (CMN), which is unknown at first; the library starts from
    one that is configured, and corrects it over some ten seconds. For the telephone band a start-up mean comes with
    the transform. For wide band the library's fits badly. Where it is wrong, `finish` recognises the whole utterance
    once more with the mean of exactly its own audio: in wide band while the channel is unknown, in the telephone band
    only if the level is also far from the usual. Later utterances start from what was learnt.

    Args:
        band: of the audio that it will hear.
        lm: language model, which decoders of a process share: it is a third of their memory.
    """

    def __init__(self, band: Band, lm: "pocketsphinx.NGramModel | None" = None) -> None:
        self.band = band
        self._decoder: Any = pocketsphinx.Decoder(**_options(band))
        self.lm = lm or self._read_lm()
        self._decoder.add_lm("words", self.lm)
        self._decoder.activate_search("words")
        self._audio = bytearray()
        self._start_s = 0.0
        self._start_level = 0.0
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
        if self.band is Band.TELEPHONE and not self.knows_channel:
            self._decoder.reinit_feat()  # from the start-up mean, not from that of a short utterance
        self._start_level = self._level()
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
            if self.band is Band.WIDE or self._level_is_off():
                self._hear_again()
            self.knows_channel = len(self._audio) >= _CHANNEL_BYTES
        # Posterior probability in the word lattice. Tried on telephone speech: below 0.2 one word in four was right,
        # above 0.8 more than four in five.
        return tuple(self._word(segment, confidence=min(1.0, segment.prob)) for segment in self._segments())

    def _hear_again(self) -> None:
        # Without this `full_utt` has no effect: after the first live audio the library stays with the running mean.
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        self._decoder.process_raw(bytes(self._audio), full_utt=True)
        self._decoder.end_utt()

    def _level(self) -> float:
        """The first cepstrum's mean, as far as it is known."""
        return float(self._decoder.get_cmn(update=False).partition(",")[0])

    def _level_is_off(self) -> bool:
        """Whether the utterance just heard is much louder or softer than the mean it began with supposed."""
        # What was learnt is the average of the mean at the start and the utterance's. After 300 frames the start
        # begins to count less, which makes this difference some tenth too large.
        learnt = self._level()
        own = learnt + (learnt - self._start_level) * _START_FRAMES / self._decoder.n_frames()
        return bool(abs(own - self._start_level) > _LEVEL_TOLERANCE)

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
