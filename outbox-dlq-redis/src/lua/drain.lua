-- H2, H5, H6: removes a page of the entries that are due, and returns them. ARGV from 2: the page, then
-- the threshold.
-- Atomic: one script, so it returns exactly the entries that it removes. A drain of several pages is
-- atomic for each page.
local page, threshold = page_of_call(), tonumber(ARGV[7])
local due, count_of, has_more = due_entries(page, threshold)
local removed = entries(due, count_of)
remove(due)
return page_reply(page, has_more, removed)
