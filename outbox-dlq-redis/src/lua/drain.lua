-- H2, H5, H6: takes out what is due, a page at a time.
-- Atomic for each page: the script returns exactly the entries that it removes.
local entries = answer(due, count_of)
remove(due)
return page_of(more, entries)
