-- H8, H9: hides up to `most` entries that reached the threshold, those first that wait longest.
-- ARGV: clock, threshold, page, most, lease, and the entry up to which the last page came, with its
-- turn. Looks at no more than a page of entries.
-- Atomic: what is hidden is what is returned.
sweep()
local threshold, page, most = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local due, more, passed, passed_turn = {}, 0, ARGV[6], ARGV[7]

if redis.call('ZCOUNT', counts, threshold, '+inf') <= page then
    -- Few: all of them are looked at, and brought into the order of their turns.
    local found = redis.call('ZRANGEBYSCORE', counts, threshold, '+inf', 'WITHSCORES')
    for i = 1, #found, 2 do
        local id, count = found[i], found[i + 1]
        if not is_id(id) or not is_count(count) then
            set_aside(id, count)
        elseif is_free(id) then
            due[#due + 1] = {id, count, tonumber(redis.call('ZSCORE', turns, id) or 0)}
        end
    end
    table.sort(due, function(a, b)
        return a[3] < b[3] or (a[3] == b[3] and a[1] < b[1])
    end)
else
    -- Many: they are dense in the order of turns, so that is walked from its begin.
    local from = behind(turns, passed, passed_turn, 0)
    local found = redis.call('ZRANGE', turns, from, from + page - 1, 'WITHSCORES')
    more = #found == 2 * page and 1 or 0
    for i = 1, #found, 2 do
        local id, turn = found[i], found[i + 1]
        local count = redis.call('ZSCORE', counts, id)
        if tonumber(turn) > now then
            more = 0
            break
        elseif not count then
            tidy(id, turn)
        elseif not is_id(id) or not is_count(count) then
            set_aside(id, count)
        elseif tonumber(count) < threshold then
            passed, passed_turn = id, turn
        else
            due[#due + 1] = {id, count}
            if #due == most then break end
        end
    end
end

local entries = {}
for i = 1, math.min(#due, most) do
    local id, count = due[i][1], due[i][2]
    redis.call('ZADD', turns, now + ARGV[5], id)
    entries[i] = entry(id, count)
end
return {redis.call('ZCARD', aside), more, passed, passed_turn, entries}
