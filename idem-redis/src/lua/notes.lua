-- Writes `count` notes from ARGV[at] on, four arguments each, and returns where the next argument is.
local function write_notes(at, count)
    local number, raised = nil, false
    for _ = 1, count do
        local change, key, value, given = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
        at = at + 4
        if change == 'd' then
            call('HDEL', tag .. 'n', key)
            call('ZREM', tag .. 'nk', key)
        else
            if change == 'n' or given ~= '' then
                number = number or tonumber(call('HGET', meta, 'notes') or 0)
                raised = true
            end
            if change == 'n' then
                number = number + 1
                key = key .. string.format('%016x', number)
            elseif given ~= '' then
                number = math.max(number, tonumber(given))
            end
            call('HSET', tag .. 'n', key, value)
            call('ZADD', tag .. 'nk', 0, key)
        end
    end
    if raised then
        call('HSET', meta, 'notes', text(number))
    end
    return at
end
