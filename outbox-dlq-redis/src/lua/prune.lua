-- Forgets up to `most` entries whose last failure is older than an age and that are not leased.
-- ARGV: clock, age, page, most, and the entry up to which the last page came, with its first
-- failure. A first failure is never after the last, so the oldest first failures are looked at.
-- Atomic: one script.
local before, page, most = now - ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local old, passed, passed_first = {}, ARGV[5], ARGV[6]
local from = behind(first, passed, passed_first, 0)
local found = redis.call('ZRANGE', first, from, from + page - 1, 'WITHSCORES')
local ids, since = {}, {}
for i = 1, #found, 2 do
    if tonumber(found[i + 1]) >= before then break end
    ids[#ids + 1], since[#since + 1] = found[i], found[i + 1]
end
local more = #ids == page and 1 or 0
local count, turn, text = scores(counts, ids), free_turns(ids), texts(ids)
for i, id in ipairs(ids) do
    local last = (text[i] or ''):match('^%d+') or since[i]
    if not count[i] then
        tidy(id, since[i])
    elseif tonumber(last) < before and turn[i] then
        old[#old + 1] = id
        if #old == most then break end
    else
        passed, passed_first = id, since[i]
    end
end
remove(old)
return {#old, more, passed, passed_first}
