-- H8, H9: hides up to `most` entries that reached the threshold, those first that wait longest.
-- ARGV: clock, threshold, page, most, lease, and the entry up to which the last page came, with its
-- turn. Looks at no more than a page of entries.
-- Atomic: what is hidden is what is returned.
sweep()
local threshold, page, most = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local due, count_of, more, passed, passed_turn = {}, {}, 0, ARGV[6], ARGV[7]

if redis.call('ZCOUNT', counts, threshold, '+inf') <= page then
    -- Few: all of them are looked at, and brought into the order of their turns.
    local found = redis.call('ZRANGEBYSCORE', counts, threshold, '+inf', 'WITHSCORES')
    local ids, turn_of = nil, {}
    ids, count_of = entries_among(found)
    local turn = free_turns(ids)
    for i, id in ipairs(ids) do
        turn_of[id] = turn[i]
        if turn[i] then due[#due + 1] = id end
    end
    table.sort(due, function(a, b)
        return turn_of[a] < turn_of[b] or (turn_of[a] == turn_of[b] and a < b)
    end)
    for i = #due, most + 1, -1 do due[i] = nil end
else
    -- Many: they are dense in the order of turns, so that is walked from its begin.
    local from = behind(turns, passed, passed_turn, 0)
    local found = redis.call('ZRANGE', turns, from, from + page - 1, 'WITHSCORES')
    local ids, turn = {}, {}
    for i = 1, #found, 2 do
        if tonumber(found[i + 1]) > now then break end
        ids[#ids + 1], turn[#turn + 1] = found[i], found[i + 1]
    end
    more = #ids == page and 1 or 0
    local count = scores(counts, ids)
    for i, id in ipairs(ids) do
        if not count[i] then
            tidy(id, turn[i])
        elseif not is_id(id) or not is_count(count[i]) then
            set_aside(id, count[i])
        elseif tonumber(count[i]) < threshold then
            passed, passed_turn = id, turn[i]
        else
            due[#due + 1], count_of[id] = id, count[i]
            if #due == most then break end
        end
    end
end

local leases = {}
for i, id in ipairs(due) do
    leases[2 * i - 1], leases[2 * i] = now + ARGV[5], id
end
if #due > 0 then redis.call('ZADD', turns, unpack(leases)) end
return {redis.call('ZCARD', aside), more, passed, passed_turn, answer(due, count_of)}
