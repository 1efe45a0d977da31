-- Before every script but open and accept: is this the store that the process knows, and what time is it?
-- KEYS[1] holds what is known of the ledger. ARGV: the tag, the store's id, the process, how many of the
-- process's changes were answered, how many of all it has heard of, the latest time it was told, when
-- the request is too late, the highest number that it reserved.
local call = redis.call
local meta, tag, process = KEYS[1], ARGV[1], ARGV[3]
local first = 9

local function text(number)
    return string.format('%.0f', number)
end

-- A slot of a cluster moves key by key. A script that went on would miss the keys that are gone, halfway
-- through its changes. There, no key is found and none is taken for absent: a key that never is tells.
local moving = redis.pcall('EXISTS', tag .. '-')
if type(moving) == 'table' then
    return {'moving', '0', '0', '0', ''}
end

local known = call('HMGET', meta, 'id', 'lost', 'told', 'ahead', 'clock', 'changes', 'was:' .. ARGV[2])
if known[2] then
    return {'lost', '0', '0', '0', known[2]}
end
if known[1] and known[1] ~= ARGV[2] and known[7] then
    return {'moved', '0', '0', '0', {known[1], call('HGET', meta, 'above')}}
end
local made = tonumber(call('GET', tag .. 'c:' .. process) or 0)
local changes = tonumber(known[6] or 0)
local lost
if known[1] ~= ARGV[2] then
    lost = 'it was emptied'
elseif made < tonumber(ARGV[4]) or changes < tonumber(ARGV[5]) then
    lost = 'it is older than it was'
end
if lost then
    call('HSET', meta, 'lost', lost, 'floor', ARGV[8], 'was:' .. ARGV[2], '1')
    return {'lost', '0', '0', '0', lost}
end

local clock = known[5]
if clock then
    clock = tonumber(clock)
else
    local time = call('TIME')
    clock = time[1] * 1000000 + time[2]
end
local ahead = tonumber(known[4] or 0)
local told = math.max(tonumber(known[3] or 0), tonumber(ARGV[6]))
local now = clock + ahead
if now < told then
    ahead, now = told - clock, told
    call('HSET', meta, 'ahead', text(ahead), 'told', text(told))
end

local function answer(status, value)
    return {status, text(now), text(made), text(changes), value}
end

if now > tonumber(ARGV[7]) then
    return answer('late', '')
end

-- Counts a change, by which a loss is noticed. A process that was not heard of for a week begins anew.
local function changed(value)
    made, changes = made + 1, changes + 1
    call('HSET', meta, 'changes', text(changes), 'told', text(now))
    call('SET', tag .. 'c:' .. process, text(made), 'EX', 604800)
    return answer('done', value)
end

local function done(value)
    return answer('done', value)
end
