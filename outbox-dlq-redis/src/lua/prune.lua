-- Forgets up to `most` entries whose last failure is older than an age and that are not leased, and
-- sets members aside that are not entries. ARGV: as in `pages.lua`, then the age. A first failure is never after
-- the last, so the oldest first failures are looked at.
-- Atomic: one script.
local before, old = math.min(begun, now) - ARGV[7], {}
local ids, since = walk(first, before - 1)
local count, turn, text = scores(counts, ids), turns_of(ids), texts(ids)
for i, id in ipairs(ids) do
    local last = (text[i] or ''):match('^%d+') or since[i]
    if is_entry(id, count[i], since[i]) then
        if tonumber(last) < before and turn[i] <= now then
            old[#old + 1] = id
            if #old == most then break end
        else
            passed, passed_score = id, since[i]
        end
    end
end
remove(old)
return page_of(#ids == page, #old)
