-- H8, H9: hides a page of the entries that are due, and returns them. ARGV from 2: the page, then the
-- threshold and the length of the lease.
-- Atomic: one script, so it returns exactly the entries that it hides.
local page, threshold, lease = page_of_call(), tonumber(ARGV[7]), tonumber(ARGV[8])
local due, count_of, has_more = due_entries(page, threshold)
-- At least a microsecond after the call began, so that the call does not take the entry again.
local ends, leases = math.max(page.begun, now) + math.max(lease, 1), {}
for i, id in ipairs(due) do
    leases[2 * i - 1], leases[2 * i] = ends, id
end
if #due > 0 then redis.call('ZADD', turns, unpack(leases)) end
return page_reply(page, has_more, entries(due, count_of))
