-- Marks a runner dead, if its lease is as it was read and has ended, or without one.
local runner, lease = tag .. 'u:' .. ARGV[first], ARGV[first + 1]
local life = call('HMGET', runner, 'dead', 'until')
if life[1] == '0' and lease ~= '' and (life[2] ~= lease or tonumber(lease) > now) then
    return done('0')
end
call('HSET', runner, 'dead', '1')
-- Without it, it is not known, which is as dead.
call('EXPIRE', runner, 604800)
call('ZADD', tag .. 'u', '-inf', ARGV[first])
return changed('1')
