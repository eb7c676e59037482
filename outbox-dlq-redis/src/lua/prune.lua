-- H13, H18: removes a page of the entries whose last failure is older than an age and that are not leased,
-- and returns how many. ARGV from 2: the page, then the age. A first failure is never after the last
-- one, so the oldest first failures are read.
-- Atomic: one script, so an entry that fails again meanwhile is removed before that failure, or stays.
local page = page_of_call()
local before, old = math.min(page.begun, now) - ARGV[7], {}
local ids, since = walk(page, first, before - 1)
local count, turn, text = scores(counts, ids), turns_of(ids), texts(ids)
for i, id in ipairs(ids) do
    if is_entry(id, count[i], since[i]) then
        local last = (text[i] or ''):match('^%d+') or since[i]
        if tonumber(last) < before and turn[i] <= now then
            old[#old + 1] = id
            if #old == page.most then break end
        else
            page.passed, page.score = id, since[i]
        end
    end
end
remove(old)
return page_reply(page, #ids == page.size, #old)
