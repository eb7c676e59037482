-- The start of every script: the keys.
--
-- counts   sorted set  event id -> its failures, 1 to 4294967295
-- turns    sorted set  event id -> since when it may be taken: its first failure, or the end of
--                      its latest lease
-- first    sorted set  event id -> its first failure
-- details  hash        event id -> its last failure, then a space and the latest error if any
-- aside    sorted set  members of the others that are not entries -> their score
--
-- An entry is what `counts` has: an id that only the other keys have is left over, and is passed by
-- and tidied up. A script is atomic: Redis runs no other command meanwhile.
local counts, turns, first, details, aside = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]

