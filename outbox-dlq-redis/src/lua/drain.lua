-- H2, H5, H6: takes out what reached the threshold and is not leased, a page at a time.
-- ARGV: clock, threshold, page, and the leased entry up to which the last page came, with its count.
-- Atomic for each entry, and for a page: what is removed is what is returned. An entry that was
-- passed and has changed since cannot say where to go on, so the next page begins anew.
sweep()
local page, passed, passed_count = tonumber(ARGV[3]), ARGV[4], ARGV[5]
local start = redis.call('ZCOUNT', counts, '-inf', '(' .. ARGV[2])
local from = behind(counts, passed, passed_count, start)
local found = redis.call('ZRANGE', counts, from, from + page - 1, 'WITHSCORES')
local ids, count_of = entries_among(found)
local turn, free = free_turns(ids), {}
for i, id in ipairs(ids) do
    if turn[i] then
        free[#free + 1] = id
    else
        passed, passed_count = id, count_of[id]
    end
end
local entries = answer(free, count_of)
remove(free)
local more = #found == 2 * page and 1 or 0
return {redis.call('ZCARD', aside), more, passed, passed_count, entries}
