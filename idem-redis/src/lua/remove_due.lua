-- Removes up to so many rows whose time has come, and forgets runners that are long late and own none.
for _, runner in ipairs(call('ZRANGEBYSCORE', tag .. 'u', '-inf', text(now - 600000000), 'LIMIT', 0, 100)) do
    if call('EXISTS', tag .. 'o:' .. runner) == 0 then
        call('HSET', tag .. 'u:' .. runner, 'dead', '1')
        call('EXPIRE', tag .. 'u:' .. runner, 604800)
        call('ZREM', tag .. 'u', runner)
    end
end
local ids = call('ZRANGEBYSCORE', tag .. 'x', '-inf', text(now), 'LIMIT', 0, ARGV[first])
for _, id in ipairs(ids) do
    call('DEL', tag .. 'r:' .. id)
    call('ZREM', tag .. 'x', id)
end
return done(text(#ids))
