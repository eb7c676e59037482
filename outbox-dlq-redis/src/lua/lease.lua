-- H8, H9: hides what is due. ARGV: as in `due.lua`, then the lease.
-- Atomic: the script returns exactly the entries that it hides.
-- It ends after the call began, so that the call does not take the entry again.
local ends, leases = math.max(begun, now) + math.max(tonumber(ARGV[8]), 1), {}
for i, id in ipairs(due) do
    leases[2 * i - 1], leases[2 * i] = ends, id
end
if #due > 0 then redis.call('ZADD', turns, unpack(leases)) end
return page_of(more, answer(due, count_of))
