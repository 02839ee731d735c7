"""Rules by which keys move between tiers, are paused or told of, by what they used.

``usage`` reads what each key did in a period, ``decision`` says what a rule makes of that, without any I/O,
``run`` does it once a day, ``suggestions`` is what waits for an operator, ``rules`` how rules are edited.

- A chain of rotations is one key. Rules ask of usable keys only, and of none that is exempt.
- A period is of whole days (UTC) that are over. A key is judged once it has had its tier for all of it, so a
  new key, and one that was moved or activated again by whomever, is left alone for that long.
- The share of a quota is the highest of these: tokens spent, by the tokens that came back at the key's rate;
  and of each calendar quota of its tier that denies, by what it would have admitted in the period. A quota
  of a month counts by the day, so that shares of any period compare.
- Denials a day are the mean of the period. Without a request means that there was none in the period, nor
  today.
- Of the rules that hold of a key, the one of the lowest position counts; the others wait for another day.
  Rules that notify stand beside: each of them tells.

No rule flips a key back and forth. A rule that asks for much usage leads up, one that asks for little leads
down. After a rule moved a key, at once or by an operator's click, none moves it within the cool-down; and
afterwards none does unless the key uses more than it did then by ``MARGIN`` (up), or less (down). So a key
whose usage stays as it is moves once at most, whatever the rules are. Two rules that contradict each other
are refused when they are saved.
"""
