-- Returns a letter.
return done(call('HGET', tag .. 'l', ARGV[first]) or '')
