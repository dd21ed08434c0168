"""Whether words look like a finished utterance."""

import re

_SENTENCE_END = re.compile(r"""[.!?。！？｡।॥؟۔]["'”’»」』)\]]*$""")
_BREAKS_OFF = re.compile(r"""(?:\.\.+|…|[-–—,;:、，；：،])["'”’»)\]]*$""")
_ASIDE = re.compile(r"[\[(*♪][^\])*♪]*[\])*♪]")  # "[music]", which nobody said
_WORD = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*")
_LAST_SENTENCE = re.compile(r"[.!?]\s")

# Behind these, more comes, be it a question or not.
_LEADS_ON = frozenset(
    """
    a an the and or but nor because cause if unless although though while whereas than whether
    um uh uhm umm er erm hmm mm i my your our their every very
    mr mrs ms dr prof vs e.g i.e
    und oder aber weil dass wenn ein eine einen einem der das den dem ähm äh
    et ou mais parce car le la les un une du euh
    y o pero porque el los las una unos unas eh
    e ma perché il lo gli del della che
    mas os um uma mit
    """.split()
)
# Behind these, more comes, unless they end a question: "Where are you from?"
_LEADS_ON_UNLESS_ASKED = frozenset(
    """
    to for with of at from into by without between like about as until since during toward towards
    shall may must am be been being just
    it's that's there's he's she's here's let's
    i'm i've i'll i'd you're you've you'll you'd we're we've we'll we'd they're they've they'll they'd
    he'll he'd she'll she'd it'll it'd that'll
    zu von mit für nach de à pour dans avec sur en con para por di da per su
    """.split()
)
_PARTICLE_ENDS = frozenset(
    "come log sign check turn put go move hold carry switch keep it them that this".split()
)
# These may end a sentence, but only behind certain words: "I think so.", "Turn it on."
_ENDS_ONLY_BEHIND = {
    "so": frozenset("think hope say said guess suppose do not".split()),
    "in": _PARTICLE_ENDS,
    "on": _PARTICLE_ENDS,
}
# These lead on behind certain words alone: "I think that"
_LEADS_ON_BEHIND = {
    "that": frozenset(
        "think know say said believe hope guess suppose sure so told mean feel see is was".split()
    )
}
_VERBS = frozenset(
    "is are was were am have has had do does did will would can could should might".split()
)
_PRONOUNS = frozenset("i you he she it we they that this there".split())
_ASKING = frozenset("who what which whose where when how".split())
_SHORT_ANSWER_WORDS = 4


def looks_finished(text: str) -> bool:
    """Whether a speaker who has said this so far may well have said all of it.

    It needs the mark that ends a sentence, and behind the last word nothing that must follow:
    "I went to the." and "Well, um..." are not finished.
    """
    said = _ASIDE.sub(" ", text).strip()
    if _BREAKS_OFF.search(said) or not _SENTENCE_END.search(said):
        return False
    sentence = _LAST_SENTENCE.split(said)[-1]
    words = [word.casefold().replace("’", "'") for word in _WORD.findall(sentence)]
    asked = said.rstrip("\"'”’»)]").endswith("?")
    return bool(words) and not _leads_on(words, asked=asked)


def _leads_on(words: list[str], *, asked: bool) -> bool:
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if asked or last in _LEADS_ON:
        return last in _LEADS_ON
    if last in _ENDS_ONLY_BEHIND:
        return before not in _ENDS_ONLY_BEHIND[last]
    if last in _LEADS_ON_BEHIND:
        return before in _LEADS_ON_BEHIND[last]
    if last in _VERBS:
        return not _is_answer(words)
    if last in _ASKING:
        return len(words) > 2  # "What.", "So what."
    return last in _LEADS_ON_UNLESS_ASKED


def _is_answer(words: list[str]) -> bool:
    """Whether a verb ends the sentence: "Yes, I do.", "I know who you are."."""
    if len(words) == 1 or words[-2] not in _PRONOUNS:
        return False
    return len(words) <= _SHORT_ANSWER_WORDS or not _ASKING.isdisjoint(words[:-2])
