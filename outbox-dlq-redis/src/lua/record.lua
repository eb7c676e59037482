-- H1, H3, H7, H10, H11: one more failure of each id; ARGV: clock, then at most 1,000 pairs of an id
-- and an error text. A text is empty or starts with a space, as it is stored. A count that cannot be
-- one is set aside and starts again.
-- Atomic: one script. A key of another type refuses it before it changes an entry: what it does not
-- read it writes first where there is no entry yet, to `first` before all as that is where `prune`
-- looks for what is left over, and to `counts` last.
local ids, times, latest = {}, {}, {}
for i = 2, #ARGV, 2 do
    local id, text = ARGV[i], ARGV[i + 1]
    if not times[id] then ids[#ids + 1] = id end
    times[id] = (times[id] or 0) + 1
    if text ~= '' then latest[id] = text end
end

local stamp = string.format('%.0f', now)
local counted, fresh, known, described = {}, {}, {}, {}
for i, count in ipairs(redis.call('ZMSCORE', counts, unpack(ids))) do
    local id = ids[i]
    if count and not is_count(count) then
        redis.call('ZADD', aside, count, id)
        count = nil
    end
    if count then
        known[#known + 1] = id
    else
        fresh[#fresh + 1], fresh[#fresh + 2] = now, id
        described[#described + 1], described[#described + 2] = id, stamp .. (latest[id] or '')
    end
    counted[2 * i - 1] = math.min((tonumber(count) or 0) + times[id], 4294967295)
    counted[2 * i] = id
end

if #known > 0 then
    for i, text in ipairs(redis.call('HMGET', details, unpack(known))) do
        local id, last = known[i], stamp
        local before, told = (text or ''):match('^(%d*)[^ ]*(.*)$')
        -- A clock that went back does not move the last failure.
        if (tonumber(before) or 0) > now then last = before end
        described[#described + 1], described[#described + 2] = id, last .. (latest[id] or told)
    end
    -- If another program or an eviction took one of the keys, the entries are repaired here.
    local size = redis.call('ZCARD', counts)
    local mend_turns = redis.call('ZCARD', turns) < size
    local mend_first = redis.call('ZCARD', first) < size
    for _, id in ipairs(known) do
        if mend_turns then redis.call('ZADD', turns, 'NX', now, id) end
        if mend_first then redis.call('ZADD', first, 'NX', now, id) end
    end
end
if #fresh > 0 then
    redis.call('ZADD', first, unpack(fresh))
    redis.call('ZADD', turns, unpack(fresh))
end
redis.call('HSET', details, unpack(described))
redis.call('ZADD', counts, unpack(counted))
