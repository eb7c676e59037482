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

local before, text, stamp = scores(counts, ids), texts(ids), string.format('%.0f', now)
local counted, fresh, known, described = {}, {}, {}, {}
for i, id in ipairs(ids) do
    local count, last, told = before[i], nil, nil
    if count and not is_count(count) then
        set_aside(id, count)
        count = nil
    end
    if count and text[i] then
        last, told = text[i]:match('^%d+'), text[i]:match(' .*$')
    end
    local group = count and known or fresh
    group[#group + 1], group[#group + 2] = now, id
    counted[2 * i - 1] = math.min((tonumber(count) or 0) + times[id], 4294967295)
    counted[2 * i] = id
    -- A clock that went back does not move the last failure.
    if not last or tonumber(last) < now then last = stamp end
    described[2 * i - 1], described[2 * i] = id, last .. (latest[id] or told or '')
end

redis.call('ZADD', counts, unpack(counted))
redis.call('HSET', details, unpack(described))
for _, key in ipairs({turns, first}) do
    if #fresh > 0 then redis.call('ZADD', key, unpack(fresh)) end
    -- If another program or an eviction took one of the keys, the entry is mended here.
    if #known > 0 then redis.call('ZADD', key, 'NX', unpack(known)) end
end
