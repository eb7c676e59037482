-- Forgets up to `most` entries whose last failure is older than an age and that are not leased.
-- ARGV: clock, age, page, most, and the entry up to which the last page came, with its first
-- failure. A first failure is never after the last, so the oldest first failures are looked at.
-- Atomic: one script.
local before, page, most = now - ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local pruned, passed, passed_first = 0, ARGV[5], ARGV[6]
local from = behind(first, passed, passed_first, 0)
local found = redis.call('ZRANGE', first, from, from + page - 1, 'WITHSCORES')
local more = #found == 2 * page and 1 or 0
for i = 1, #found, 2 do
    local id, since = found[i], found[i + 1]
    if tonumber(since) >= before then
        more = 0
        break
    end
    local last = (redis.call('HGET', details, id) or ''):match('^%d+') or since
    if not redis.call('ZSCORE', counts, id) then
        tidy(id, since)
    elseif tonumber(last) < before and is_free(id) then
        remove(id)
        pruned = pruned + 1
        if pruned == most then break end
    else
        passed, passed_first = id, since
    end
end
return {pruned, more, passed, passed_first}
