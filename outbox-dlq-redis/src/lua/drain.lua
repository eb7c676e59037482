-- H2, H5, H6: takes out what is due, a page at a time.
-- Atomic for each entry, and for a page: what is removed is what is returned.
local entries = answer(due, count_of)
remove(due)
return page_of(more, entries)
