"""MQTT topics and topic filters: what may be published to, and what a filter receives.

MQTT 5.0 §4.7 and §4.8.2 (the same rules as MQTT 3.1.1 §4.7). Pure functions, no I/O.
"""

import re
from functools import lru_cache
from zlib import crc32


def topic_fault(topic: str) -> str:
    """Say why nothing can be published to this topic; empty when it can."""
    if not topic:
        return "an empty topic"
    if "\0" in topic:
        return "a topic with a NUL character"
    if "+" in topic or "#" in topic:
        return "a topic with a wildcard (+ or #)"
    return ""


def split_share(topic_filter: str) -> tuple[str | None, str]:
    """Part `$share/group/rest` into group and rest; None for a filter that is not shared."""
    if not topic_filter.startswith("$share/"):
        return None, topic_filter
    _, group, *rest = topic_filter.split("/", 2)
    return group, rest[0] if rest else ""


def filter_fault(topic_filter: str) -> str:
    """Say why nothing can be subscribed with this filter; empty when it can."""
    group, rest = split_share(topic_filter)
    if group is not None and (not group or "+" in group or "#" in group):
        return "a shared subscription is written $share/group/filter, the group without wildcards"
    if not rest or "\0" in rest or len(rest.encode()) > 65535:
        return "a topic filter has 1 to 65,535 bytes and no NUL character"
    levels = rest.split("/")
    if any(("+" in level or "#" in level) and len(level) > 1 for level in levels):
        return "+ and # stand alone between slashes"
    if "#" in levels[:-1]:
        return "# stands only at the end"
    return ""


@lru_cache(maxsize=4096)
def filter_pattern(topic_filter: str) -> re.Pattern[str]:
    """Compile a filter, for `fullmatch`; group 1 is the level that the first `+` matched.

    `$share/group/` does not count. A wildcard in front does not match topics that start with `$`
    (§4.7.2).
    """
    levels = split_share(topic_filter)[1].split("/")
    rest = levels[-1] == "#"
    if rest:
        levels.pop()
    pattern = "/".join("([^/]*)" if level == "+" else re.escape(level) for level in levels)
    if rest:
        # "a/#" matches "a" too, and "#" everything (§4.7.1.2).
        pattern = pattern + "(?:/.*)?" if levels else ".*"
    guard = r"(?!\$)" if (rest and not levels) or levels[:1] == ["+"] else ""
    return re.compile(guard + pattern, re.DOTALL)


def filters_meet(one: str, other: str) -> bool:
    """Tell whether some topic is received by both filters."""
    first, second = split_share(one)[1].split("/"), split_share(other)[1].split("/")
    for mine, yours in zip(first, second, strict=False):
        if "#" in {mine, yours}:
            return True
        if mine != yours and "+" not in {mine, yours}:
            return False
    longer = max(first, second, key=len)[min(len(first), len(second)) :]
    return longer in ([], ["#"])  # "a/#" matches "a" too (§4.7.1.2)


def filter_number(topic_filter: str) -> int:
    """The subscription identifier of a filter, the same in every run (MQTT 5.0 §3.8.2.1.2)."""
    return crc32(topic_filter.encode()) % 268_435_455 + 1


def topic_matches(topic_filter: str, topic: str) -> bool:
    """Tell whether a subscription with this filter receives this topic."""
    return filter_pattern(topic_filter).fullmatch(topic) is not None


def topic_key(topic_filter: str, topic: str) -> str:
    """Return the level matched by the filter's first `+`; the topic itself where there is none."""
    match = filter_pattern(topic_filter).fullmatch(topic)
    return match[1] if match and match.re.groups else topic
