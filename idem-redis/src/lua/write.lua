-- Makes the writes of a batch whose rows are as expected. ARGV: the runner, and for each write ten
-- arguments, then four for its letter if there is one, then four for each note.
local runner, count = ARGV[first], tonumber(ARGV[first + 1])
if call('HGET', tag .. 'u:' .. runner, 'dead') ~= '0' then
    return answer('dead', '')
end
local owned, due_rows, past_rows = tag .. 'o:' .. runner, tag .. 'd', tag .. 'x'
local waiting_rows = tag .. 'dw'
local at, taken, told_rows = first + 2, {}, {}

-- A call of a command takes longer than what it does to one row, so each is made once for all rows. No two
-- writes are of one row. A score stands before its member.
local rows, adds, removes = {}, {}, {}
local function give(lists, index, member, score)
    local list = lists[index] or {}
    lists[index] = list
    list[#list + 1] = score or member
    if score then
        list[#list + 1] = member
    end
end

for write = 1, count do
    local id, expected, row, due = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    local live, owns = ARGV[at + 4] == '1', ARGV[at + 5] == '1'
    local waiting, letter, notes = ARGV[at + 6], ARGV[at + 7], tonumber(ARGV[at + 8])
    at = at + 9
    local is_new = ARGV[at] == '1'
    local encoded, open, closed = ARGV[at + 1], ARGV[at + 2] == '1', ARGV[at + 3]
    if letter ~= '' then
        at = at + 4
    end
    if call('GETRANGE', tag .. 'r:' .. id, 0, 15) == expected
        and (letter == '' or is_new or call('HEXISTS', tag .. 'l', letter) == 1)
    then
        rows[#rows + 1] = tag .. 'r:' .. id
        rows[#rows + 1] = row
        local index, other = past_rows, due_rows
        if live then
            index, other = due_rows, past_rows
        end
        if due ~= '' then
            give(adds, index, id, due)
        end
        if owns then
            give(adds, owned, id)
        end
        if waiting ~= '' then
            give(adds, waiting_rows, id, waiting)
        elseif expected ~= '' then
            give(removes, waiting_rows, id)
        end
        if expected ~= '' then
            give(removes, other, id)
            if due == '' then
                give(removes, index, id)
            end
            if not owns then
                give(removes, owned, id)
                told_rows[#told_rows + 1] = id
            end
        end
        if letter ~= '' then
            call('HSET', tag .. 'l', letter, encoded)
            call('ZADD', tag .. 'la', 0, letter)
            if open then
                call('ZADD', tag .. 'lo', 0, letter)
            else
                call('ZREM', tag .. 'lo', letter)
            end
            if closed ~= '' then
                call('ZADD', tag .. 'lc', closed, letter)
            else
                call('ZREM', tag .. 'lc', letter)
            end
        end
        at = write_notes(at, notes)
        taken[#taken + 1] = write
    else
        at = at + 4 * notes
    end
end
if #taken == 0 then
    return done(taken)
end

-- Of an even number, as many at once as Lua hands to a function.
local function all(list, ...)
    for from = 1, #list, 2000 do
        local command = {...}
        for at = from, math.min(from + 1999, #list) do
            command[#command + 1] = list[at]
        end
        call(unpack(command))
    end
end

all(rows, 'MSET')
for index, list in pairs(adds) do
    all(list, index == owned and 'SADD' or 'ZADD', index)
end
for index, list in pairs(removes) do
    all(list, index == owned and 'SREM' or 'ZREM', index)
end
if #told_rows > 0 then
    call('PUBLISH', tag .. 'w', process .. table.concat(told_rows))
end
return changed(taken)
