"""Action texts for training the text reader: what people say, and which slots it changes to what.

A phrase is one clause or two, joined; a clause is a frame with a value's or a thing's words in it, perhaps with a
courtesy before or after. `clauses` and `COURTESIES` let a test prove that no held-out phrasing can be drawn here.

What a negation asks for: weather and time go back to clear and day, things (lamps, door, fountain)
to their other state.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

Wish = dict[str, str]
"""Slot -> value wanted. Slots that are not named stay as they are."""

Clause = tuple[str, Wish]

# What a value is called: the thing ("a storm"), how it is ("stormy", "raining"), what it does ("storm").
_NOUNS: dict[tuple[str, str], str] = {
    ("time", "day"): "day, the day, daytime, daylight, morning, the morning, noon, midday, sunlight, sunrise, dawn, "
                     "afternoon, a sunny day, a bright day, broad daylight, day time, a new day, early morning",
    ("time", "dusk"): "dusk, evening, the evening, sunset, a sunset, twilight, sundown, nightfall, the golden hour, "
                      "late evening, golden light, the blue hour, a calm evening",
    ("time", "night"): "night, the night, nighttime, midnight, darkness, moonlight, a dark night, late night, "
                       "night time, a starry night, the dark, a moonlit night",
    ("weather", "clear"): "clear sky, clear weather, fair weather, blue sky, good weather, nice weather, "
                          "a cloudless sky, sunshine, dry weather, clear skies, blue skies, a clear sky",
    ("weather", "rain"): "rain, the rain, a storm, drizzle, a shower, heavy rain, rainfall, wet weather, a downpour, "
                         "some rain, light rain, a thunderstorm, rain showers, showers, raindrops, rainy weather",
    ("weather", "snow"): "snow, the snow, snowfall, a blizzard, winter, snowflakes, heavy snow, a snowstorm, "
                         "some snow, light snow, snowy weather, snow flurries, winter weather",
    ("weather", "fog"): "fog, the fog, mist, haze, thick fog, a bank of fog, heavy mist, some fog, dense fog, "
                        "the mist, foggy weather, light mist, a fog bank",
}  # fmt: skip
_STATES: dict[tuple[str, str], str] = {
    ("time", "day"): "day, daytime, morning, noon, midday, bright day, dawn",
    ("time", "dusk"): "dusk, evening, twilight, sunset, late evening",
    ("time", "night"): "night, dark, midnight, nighttime, night again, pitch dark, late night",
    ("weather", "clear"): "clear, dry, cloudless, clear again, sunshine",
    ("weather", "rain"): "rainy, raining, stormy, pouring, wet, drizzling, pouring rain",
    ("weather", "snow"): "snowy, snowing, wintry, snowing hard",
    ("weather", "fog"): "foggy, misty, hazy, foggy again",
}
_ACTS: dict[tuple[str, str], str] = {
    ("weather", "rain"): "rain, pour, drizzle, storm",
    ("weather", "snow"): "snow, snow hard",
}
_NOUN_FRAMES = (
    "{}; turn it to {}; switch to {}; i want {}; change to {}; set it to {}; let there be {}; start {}; bring {}; "
    "give me {}; could we have {}; time for {}; show me {}; i would like {}; begin {}; make {} happen; bring on {}; "
    "we need {}; more {}; i want to see {}; let us have {}; there should be {}; i'd like {}; we want {}; add {}; "
    "can i have {}; may we have {}; let {} come; here comes {}; {} comes; {} is coming; {} starts; {} sets in; "
    "let {} begin now; change the scene to {}; make me {}; send {}; i wish for {}; fill the air with {}; go to {}; "
    "i need {}; {} now; {} instead; i prefer some {}; turn the world to {}; what about {}; it is time for {}; "
    "try {}; put in {}; call for {}; move on to {}; get us {}; let me see {}; from now on {}; i am in the mood for {}"
)
_STATE_FRAMES = (
    "make it {}; let it be {}; {}; it is {} now; now {}; it becomes {}; can you make it {}; it should be {}; "
    "go {}; it gets {}; have it {}; turn {}; i want it {}; it is {}; make everything {}; let it become {}; "
    "let it get {}; i want it to be {}; it has become {}; make this place {}; it turns {} now; keep it {}; "
    "the world becomes {}; it must be {}; make the world {}; could it be {}; let the place be {}; make things {}"
)
_ACT_FRAMES = (
    "let it {}; make it {}; it should {}; let it {} now; start to {}; can you make it {}; it will {}; begin to {}; "
    "i want it to {}; it starts to {} now; make the sky {}; could it {}; it must {}; have it {}; let it {} again"
)
_END_FRAMES = (  # around a value's bare noun
    "stop the {}; no {}; no more {}; stop {}; end the {}; without {}; i do not want {}; make the {} stop; "
    "let the {} end; enough {}; remove the {}; turn off the {}; the {} stops; get rid of the {}; lift the {}; "
    "the {} is over; it is not {} anymore; cancel the {}; dont want {}; i don't want {}; the {} is gone; "
    "let the {} stop; take the {} away; the {} should end; i have seen enough {}; we do not want {}; drop the {}; "
    "make the {} disappear; clear the {} away; the {} goes away; finish the {}; no need for {}; i am tired of the {}; "
    "do not make {}; dont bring {}; don't bring {}; let there be no {}; quit the {}; there should be no {}; "
    "the {} clears up; i am sick of {}; the {} has ended; the {} fades; get the {} out; away with {}"
)
_END_STATE_FRAMES = (
    "stop {}; it stops {}; it is not {}; not {}; no longer {}; do not make it {}; don't make it {}; dont make it {}; "
    "it is no longer {}; it should not be {}; never {}; it must not be so {}; stop it from being {}"
)
_END_ACT_FRAMES = (
    "do not let it {} now; don't let it {}; it should not {}; it must not {}; it does not {}; stop to {}; never {}; "
    "don't {}; do not {}; dont make it {}; it shall not {}"
)
_MIXED_FRAMES = (
    "a {s} {n}; {w} at {n}; {n} with {w}; {s} {n}; {n} and {s}; make it a {s} {n}; {w} in the {n}; a {n} with {w}; "
    "i want a {s} {n}; it is a {s} {n}; give us a {s} {n}; {w} during the {n}"
)

# What can be done to a thing, in pairs: what puts it into its second state, and what puts it into its first.
_LAMPS = ("lamps, lights, the lamps, the lights, lamp, the lamp, lanterns, the lanterns, street lamps, all lamps, "
          "the light, every lamp, all the lamps, all lights, the street lights, the lantern")  # fmt: skip
_DOOR = ("door, the door, the gate, gate, the doors, the gates, doors, gates, this door, that gate, the front door, "
         "the big door, every door, all doors, the wooden door, the garden gate, all the gates")  # fmt: skip
_FOUNTAIN = ("fountain, the fountain, fountains, the fountains, the water, this fountain, the old fountain, "
             "the stone fountain, the garden fountain, water, the jet of water, the water jet")  # fmt: skip
_DO: dict[str, tuple[str, str]] = {
    "lamps": (
        "turn on {}; turn {} on; light {}; switch on {}; switch {} on; put {} on; put on {}; enable {}; start {}; "
        "kindle {}; light up {}; flip {} on; bring {} on; power on {}; fire up {}; set {} alight",
        "turn off {}; turn {} off; switch off {}; switch {} off; put out {}; put {} out; kill {}; extinguish {}; "
        "disable {}; shut {} off; shut off {}; dim {}; flip {} off; power off {}; snuff out {}; stop {}",
    ),
    "door": (
        "open {}; open up {}; unlock {}; unbolt {}; open {} up; open {} wide; throw {} open; throw open {}; "
        "swing open {}; unbar {}; pull {} open; push open {}; pull open {}; fling {} open",
        "close {}; shut {}; lock {}; bolt {}; close up {}; slam {}; slam {} shut; bar {}; push {} closed; "
        "bang {} shut; close {} up; shut {} tight; lock {} up; swing {} closed",
    ),
    "fountain": (
        "turn on {}; turn {} on; switch on {}; switch {} on; start {}; enable {}; run {}; start up {}; activate {}; "
        "put {} on; open up {}; bring {} on; set {} going; power on {}; start {} up; fire up {}",
        "turn off {}; turn {} off; switch off {}; switch {} off; stop {}; disable {}; shut {} off; shut off {}; "
        "kill {}; deactivate {}; shut {} down; put {} off; halt {}; dry up {}; power off {}; end {}",
    ),
}
_BE: dict[str, tuple[str, str]] = {
    "lamps": ("on, lit, burning, glowing, shining, turned on, switched on, back on",
              "off, out, unlit, turned off, switched off, put out, extinguished"),
    "door": ("open, opened, wide open, unlocked, standing open, ajar",
             "closed, shut, locked, bolted, tightly shut, closed again"),
    "fountain": ("on, running, flowing, spraying, turned on, switched on, splashing, going again",
                 "off, stopped, dry, silent, turned off, switched off, still, shut off"),
}  # fmt: skip
_ACT: dict[str, tuple[str, str]] = {
    "lamps": ("shine, glow, burn, come on, light up, go on", "go out, go off, go dark, die, turn off"),
    "door": ("open, swing open, fly open, open wide, open up", "close, shut, swing shut, fall shut, slam"),
    "fountain": (
        "flow, run, spray, splash, sprinkle, gush, start, go on, bubble",
        "stop, dry up, run dry, go off, end",
    ),
}
_DO_FRAMES = (
    "{}; can you {}; could you {}; i want to {}; you should {}; please {}; would you {}; i want you to {}; {} now; "
    "go and {}; time to {} now; i would like to {}; now {}; someone {}; you can {}; let me {}; we should {}; "
    "let's {}; quickly {}; i said {}; try to {}; help me {}; will you {}; {} for me; {} again; it is time to {}; "
    "i need you to {}; may i {}; do {}"
)
_DO_NOT_FRAMES = (
    "do not {} now; don't {}; dont {} please; never {}; you must not {}; please do not {}; you should not {}; "
    "no need to {}; i do not want to {}; please don't {}; we must not {}; nobody should {}"
)
_BE_FRAMES = (
    "{n} {s}; make {n} {s}; {n} should be {s}; i want {n} {s}; let {n} be {s}; keep {n} {s} now; with {n} {s}; "
    "{n} is {s} now; get {n} {s}; i need {n} {s} now; have {n} {s}; {n} must be {s}; {n} is {s}; i want {n} to be {s}; "
    "leave {n} {s} please; {n} are {s}; may {n} be {s}; i like {n} {s}; i want to see {n} {s}; could {n} be {s}; "
    "put {n} {s}; {n} has to be {s}; set {n} to {s}; we want {n} {s}; please make {n} {s}"
)
_BE_NOT_FRAMES = (
    "{n} should not be {s}; i do not want {n} {s} now; do not keep {n} {s}; {n} must not be {s}; don't leave {n} {s}; "
    "i don't want {n} {s}; do not leave {n} {s}; {n} is not {s} anymore; {n} is no longer {s}; not {n} {s}"
)
_ACT_FRAMES_OF_THINGS = (
    "let {n} {a}; make {n} {a}; {n} should {a} now; i want {n} to {a}; {n} starts to {a}; {n} begins to {a} now; "
    "{n} must {a}; have {n} {a}; may {n} {a}; get {n} to {a}; i want to see {n} {a}; {n} will {a}; could {n} {a}; "
    "i would like {n} to {a}; please let {n} {a}; it is time for {n} to {a}"
)
_ACT_NOT_FRAMES = "do not let {n} {a}; don't let {n} {a}; {n} should not {a}; {n} must not {a}; dont make {n} {a}"
_NO_THING = "no {}; without {}; no more {}; i do not need {}; get rid of {}; enough of {}; away with {}"

# What names something that the world knows and wants nothing of it.
_ABOUT = (
    "walk to {}; look at {}; go to {} and wait; what is {}; stand by {}; where is {}; who made {}; sit by {}; "
    "run to {}; talk about {}; i see {}; meet me at {}; what a fine {}; touch {}; paint {} red; climb on {}; "
    "describe {}; how old is {}; is there {} here; step away from {}; turn towards {}; hide behind {}; "
    "do you like {}; find {}"
)
_OTHER = (
    "hello; jump; look around; walk to the tower; who are you; pick up the key; run; what is this place; "
    "play some music; go left; turn around; sit down; a red car; dance; the quick brown fox; attack; heal; "
    "save the game; quit; help; yes; no; stop; please; turn; make it better; faster; slow down; go back; start; on; "
    "off; say something; a dragon appears; build a house; where is everybody; thank you; paint it blue; bigger; "
    "make it pink; add a tree; fly; wait here; good bye; turn it; move forward; it is; let it; "
    "switch to camera two; stop walking; no thanks; open; close; shut; open the box; close the book; stop it; "
    "do not run; i do not know; let me see; open the map; turn off the music; start the race; show me the way; "
    "close the window; open your mouth; light; never mind; what is the weather; what time is it; stop moving; "
    "turn on the radio; keep going; make it louder; let us go; begin; end; i want more; give me the sword; "
    "stop the car; start over; switch sides; shut up; put it down; come here; open fire; go out; come on; not now; "
    "don't move; get out; the cat sleeps; how are you; it is nice here; i like it here; no way; let it go; "
    "a bird in the tree; drink some tea; eat the apple; look up; look down; make me laugh; turn the page; "
    "set the table; bring me a chair; give it to me; throw the ball; where are we; are we there yet; "
    "push the button; pull the lever; close one eye; unlock the chest; lock the box; start the music; stop the music; "
    "switch off the engine; fill the cup; put on a hat; time to eat; enough; without me; take a picture"
)
COURTESIES = (
    "ok; hey; well; so; now; please; right; quickly; slowly; then; a bit; again; right now; for me; here; today; "
    "at once; my friend; everyone; in the garden; if you can; thanks; thank you; just; maybe; i think; come on; "
    "this time; oh; hm; over here; for a while; in this place; as well; at last"
)
JOINS = (" and ", ", ", " with ", " then ", " and then ", " but ", " ", " while ", " also ", " and please ")


def _parts(text: str, by: str = "; ") -> tuple[str, ...]:
    return tuple(text.split(by))


def _bare(noun: str) -> str:
    for article in ("a ", "the ", "some "):
        noun = noun.removeprefix(article)
    return noun


class _Frames:
    """Frames and what fills them: every combination is a clause with the same wish."""

    def __init__(self, frames: str, wish: Wish, *, share: float, **words: tuple[str, ...]) -> None:
        """words: by the name of their place in the frames; the name `_` fills `{}`. share: how often, relatively."""
        self.frames, self.wish, self.share, self.words = _parts(frames), wish, share, words

    def draw(self, rng: np.random.Generator) -> Clause:
        chosen = {place: _pick(rng, words) for place, words in self.words.items()}
        return self._filled(_pick(rng, self.frames), chosen), self.wish

    def all(self) -> Iterator[Clause]:
        for frame, *words in product(self.frames, *self.words.values()):
            yield self._filled(frame, dict(zip(self.words, words, strict=True))), self.wish

    @staticmethod
    def _filled(frame: str, words: dict[str, str]) -> str:
        return frame.format(words.get("_", ""), **{place: word for place, word in words.items() if place != "_"})


def _values() -> Iterator[_Frames]:
    """Times of day and weathers, wanted and not wanted any more."""
    for (slot, value), text in _NOUNS.items():
        nouns, states = _parts(text, ", "), _parts(_STATES[slot, value], ", ")
        yield _Frames(_NOUN_FRAMES, {slot: value}, share=1.0, _=nouns)
        yield _Frames(_STATE_FRAMES, {slot: value}, share=0.8, _=states)
        acts = _parts(_ACTS[slot, value], ", ") if (slot, value) in _ACTS else ()
        if acts:
            yield _Frames(_ACT_FRAMES, {slot: value}, share=0.4, _=acts)
        if value in ("clear", "day"):
            continue
        back = {slot: "clear" if slot == "weather" else "day"}
        yield _Frames(_END_FRAMES, back, share=0.5, _=tuple(sorted({_bare(noun) for noun in nouns})))
        yield _Frames(_END_STATE_FRAMES, back, share=0.2, _=states)
        if acts:
            yield _Frames(_END_ACT_FRAMES, back, share=0.2, _=acts)


def _mixed() -> Iterator[_Frames]:
    """A weather and a time in one breath: "a rainy night"."""
    for (slot, time), (other, weather) in product(_NOUNS, _NOUNS):
        if slot == "time" and other == "weather":
            times = tuple(sorted({_bare(noun) for noun in _parts(_NOUNS[slot, time], ", ")}))
            yield _Frames(
                _MIXED_FRAMES, {"time": time, "weather": weather}, share=0.06, n=times,
                s=_parts(_STATES[other, weather], ", "), w=_parts(_NOUNS[other, weather], ", "),
            )  # fmt: skip


def _things() -> Iterator[_Frames]:
    """Lamps, door and fountain, in either state; a negation asks for the other one."""
    values = {"lamps": ("on", "off"), "door": ("open", "closed"), "fountain": ("on", "off")}
    for slot, nouns in (("lamps", _LAMPS), ("door", _DOOR), ("fountain", _FOUNTAIN)):
        names = _parts(nouns, ", ")
        for index, value in enumerate(values[slot]):
            wish, other = {slot: value}, {slot: values[slot][1 - index]}
            done = tuple(verb.format(name) for verb in _parts(_DO[slot][index]) for name in names)
            states, acts = _parts(_BE[slot][index], ", "), _parts(_ACT[slot][index], ", ")
            yield _Frames(_DO_FRAMES, wish, share=1.2, _=done)
            yield _Frames(_DO_NOT_FRAMES, other, share=0.35, _=done)
            yield _Frames(_BE_FRAMES, wish, share=0.9, n=names, s=states)
            yield _Frames(_BE_NOT_FRAMES, other, share=0.2, n=names, s=states)
            yield _Frames(_ACT_FRAMES_OF_THINGS, wish, share=0.6, n=names, a=acts)
            yield _Frames(_ACT_NOT_FRAMES, other, share=0.15, n=names, a=acts)
        if slot != "door":
            yield _Frames(_NO_THING, {slot: "off"}, share=0.15, _=names)
        yield _Frames(_ABOUT, {}, share=0.5, _=names)


_WANTED = (*_values(), *_mixed(), *_things())
_SHARES = np.array([frames.share for frames in _WANTED]) / sum(frames.share for frames in _WANTED)
_UNKNOWN = _Frames(_OTHER, {}, share=1.0)


def clauses() -> Iterator[Clause]:
    """Every clause that can be drawn, some 200,000, but for those of random letters and digits."""
    for frames in (*_WANTED, _UNKNOWN):
        yield from frames.all()


def draw_phrase(rng: np.random.Generator) -> Clause:
    """One action text and what it asks for; a fifth ask for nothing that the world knows."""
    text, wish = _unknown(rng) if rng.random() < 0.16 else _one(rng)
    if wish and rng.random() < 0.25:
        other_text, other = _one(rng)
        if other and not set(other) & set(wish):
            text, wish = text + _pick(rng, JOINS) + other_text, {**wish, **other}
    if rng.random() < 0.3:
        courtesy = _pick(rng, _parts(COURTESIES))
        text = f"{courtesy} {text}" if rng.random() < 0.5 else f"{text} {courtesy}"
    return text, wish


def _one(rng: np.random.Generator) -> Clause:
    return _WANTED[int(rng.choice(len(_WANTED), p=_SHARES))].draw(rng)


def _unknown(rng: np.random.Generator) -> Clause:
    """Nothing that the world knows; nonsense words hold a digit, so that none is ever a word of a language."""
    if rng.random() < 0.3:
        return " ".join(nonsense(rng) for _ in range(int(rng.integers(1, 6)))), {}
    text, _ = _UNKNOWN.draw(rng)
    if rng.random() < 0.3:
        text += _pick(rng, JOINS) + _UNKNOWN.draw(rng)[0]
    return text, {}


def nonsense(rng: np.random.Generator) -> str:
    """A word that nobody has met."""
    return f"x{int(rng.integers(10**6))}"


def _pick(rng: np.random.Generator, items: tuple[str, ...]) -> str:
    return items[int(rng.integers(len(items)))]
