-- H2, H5, H6: takes out what reached the threshold and is not leased, a page at a time.
-- ARGV: clock, threshold, page, and the leased entry up to which the last page came, with its count.
-- Atomic for each entry, and for a page: what is removed is what is returned. An entry that was
-- passed and has changed since cannot say where to go on, so the next page begins anew.
sweep()
local page = tonumber(ARGV[3])
local start = redis.call('ZCOUNT', counts, '-inf', '(' .. ARGV[2])
local from = behind(counts, ARGV[4], ARGV[5], start)
local found = redis.call('ZRANGE', counts, from, from + page - 1, 'WITHSCORES')
local entries, passed, passed_count = {}, ARGV[4], ARGV[5]
for i = 1, #found, 2 do
    local id, count = found[i], found[i + 1]
    if not is_id(id) or not is_count(count) then
        set_aside(id, count)
    elseif is_free(id) then
        entries[#entries + 1] = entry(id, count)
        remove(id)
    else
        passed, passed_count = id, count
    end
end
local more = #found == 2 * page and 1 or 0
return {redis.call('ZCARD', aside), more, passed, passed_count, entries}
