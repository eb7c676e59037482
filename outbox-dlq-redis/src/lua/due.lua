-- H2, H8, H9: up to `most` entries that reached the threshold and are not leased, those first that
-- wait longest, as `due`. ARGV: as in `pages.lua`, then the threshold. Looks at no more than a page.
local threshold = tonumber(ARGV[7])
local till, due, count_of, more = math.min(begun, now), {}, {}, false

-- At `maxmemory` Redis allows a script whose first write needs no memory, so this deletes a member
-- that does not exist.
redis.call('HDEL', details, '')
sweep()

-- First failures that a clock which went back is behind were now at the latest, and so were their
-- turns, which would not come else.
local ahead = redis.call('ZRANGEBYSCORE', first, '(' .. string.format('%.0f', now), '+inf',
    'WITHSCORES', 'LIMIT', 0, page)
for i = 1, #ahead, 2 do
    local id, score = ahead[i], ahead[i + 1]
    if redis.call('ZSCORE', turns, id) == score then redis.call('ZADD', turns, till, id) end
    redis.call('ZADD', first, till, id)
end

if #ahead == 2 * page then
    -- There may be more of them, and the walk must not have passed by where they come.
    more = true
elseif redis.call('ZCOUNT', counts, threshold, '+inf') <= page then
    -- Few: all of them are looked at, and brought into the order of their turns.
    local found = redis.call('ZRANGEBYSCORE', counts, threshold, '+inf', 'WITHSCORES')
    local ids, turn_of = nil, {}
    ids, count_of = entries_among(found)
    for i, turn in ipairs(turns_of(ids)) do
        turn_of[ids[i]] = turn
        if turn <= till then due[#due + 1] = ids[i] end
    end
    table.sort(due, function(a, b)
        return turn_of[a] < turn_of[b] or (turn_of[a] == turn_of[b] and a < b)
    end)
    for i = #due, most + 1, -1 do due[i] = nil end
else
    -- Many: they are dense in the order of turns, so that order is read from its start.
    local ids, turn = walk(turns, till)
    more = #ids == page
    local count = scores(counts, ids)
    for i, id in ipairs(ids) do
        if is_entry(id, count[i], turn[i]) then
            if tonumber(count[i]) < threshold then
                passed, passed_score = id, turn[i]
            else
                due[#due + 1], count_of[id] = id, count[i]
                if #due == most then break end
            end
        end
    end
end

