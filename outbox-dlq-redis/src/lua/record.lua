-- H1, H3, H7, H10, H11: counts one more failure for each id. ARGV from 2: up to 1,000 pairs of an id
-- and an error text, which is empty or starts with a space. A count that is not valid is set aside, and
-- the event's count starts at one.
-- Atomic: one script, so a batch is counted whole or not at all.
local ids, times, latest = {}, {}, {}
for i = 2, #ARGV, 2 do
    local id, text = ARGV[i], ARGV[i + 1]
    if not times[id] then ids[#ids + 1] = id end
    times[id] = (times[id] or 0) + 1
    if text ~= '' then latest[id] = text end
end

local stamp = string.format('%.0f', now)
local counted, new, known, described = {}, {}, {}, {}
for i, count in ipairs(redis.call('ZMSCORE', counts, unpack(ids))) do
    local id = ids[i]
    if count and not is_count(count) then
        redis.call('ZADD', aside, count, id)
        count = nil
    end
    if count then
        known[#known + 1] = id
    else
        new[#new + 1], new[#new + 2] = now, id
        described[#described + 1], described[#described + 2] = id, stamp .. (latest[id] or '')
    end
    counted[2 * i - 1] = math.min((tonumber(count) or 0) + times[id], 4294967295)
    counted[2 * i] = id
end

if #known > 0 then
    for i, text in ipairs(texts(known)) do
        local id, last = known[i], stamp
        local before, error = (text or ''):match('^(%d*)[^ ]*(.*)$')
        -- A clock that went back does not change the last failure.
        if (tonumber(before) or 0) > now then last = before end
        described[#described + 1], described[#described + 2] = id, last .. (latest[id] or error)
    end
    -- If another program or an eviction removed a key, its part of the entries is written again.
    local size = redis.call('ZCARD', counts)
    local repair_turns = redis.call('ZCARD', turns) < size
    local repair_first = redis.call('ZCARD', first) < size
    for _, id in ipairs(known) do
        if repair_turns then redis.call('ZADD', turns, 'NX', now, id) end
        if repair_first then redis.call('ZADD', first, 'NX', now, id) end
    end
end
if #new > 0 then
    redis.call('ZADD', first, unpack(new))
    redis.call('ZADD', turns, unpack(new))
end
redis.call('HSET', details, unpack(described))
redis.call('ZADD', counts, unpack(counted))
