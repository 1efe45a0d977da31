-- Says that a runner lives for another so many microseconds.
local runner = tag .. 'u:' .. ARGV[first]
if call('HGET', runner, 'dead') == '1' then
    return answer('dead', '')
end
local lease = text(now + tonumber(ARGV[first + 1]))
call('HSET', runner, 'dead', '0', 'until', lease)
call('ZADD', tag .. 'u', lease, ARGV[first])
return changed('')
