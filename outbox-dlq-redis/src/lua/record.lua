-- H1, H3, H7, H10, H11: one more failure of each id; ARGV: clock, then at most 1,000 pairs of an id
-- and an error text. A text is empty or begins with a space, as it is stored. A count that cannot be
-- one is set aside and begins anew.
-- Atomic: one script, and nothing in it can fail once it has begun to write. An id that stands
-- twice is folded first.
local ids, times, latest = {}, {}, {}
for i = 2, #ARGV, 2 do
    local id, text = ARGV[i], ARGV[i + 1]
    if not times[id] then ids[#ids + 1], times[id] = id, 0 end
    times[id] = times[id] + 1
    if text ~= '' then latest[id] = text end
end

local stamp = string.format('%.0f', now)
local counted, fresh, known, described = {}, {}, {}, {}
for i, count in ipairs(scores(counts, ids)) do
    local id = ids[i]
    if count and not is_count(count) then
        set_aside(id, count)
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
for i, text in ipairs(texts(known)) do
    local id, last, told = known[i], stamp, latest[known[i]]
    local gap = text and text:find(' ', 1, true)
    -- A clock that went back does not move the last failure.
    local before = text and text:sub(1, (gap or 0) - 1)
    if (tonumber(before) or 0) > now then last = before end
    described[#described + 1] = id
    described[#described + 1] = last .. (told or gap and text:sub(gap) or '')
end

redis.call('ZADD', counts, unpack(counted))
redis.call('HSET', details, unpack(described))
for place = 2, 3 do
    if #fresh > 0 then redis.call('ZADD', KEYS[place], unpack(fresh)) end
    -- If another program or an eviction took one of the keys, the entries are mended here.
    if sizes[place] < sizes[1] then
        for _, id in ipairs(known) do redis.call('ZADD', KEYS[place], 'NX', now, id) end
    end
end
