-- Verdicts for the tests: the first word of the Subject in brackets names one.
local verdicts = {
  junk = { symbol = 'TEST_JUNK', score = 8.0 },
  grey = { symbol = 'TEST_GREY', score = 4.0 },
  spam = { symbol = 'TEST_SPAM', score = 99.0 },
  later = { symbol = 'TEST_LATER', score = 0.0, force = 'soft reject', text = 'Come back in ten minutes' },
  subject = { symbol = 'TEST_SUBJECT', score = 0.0, force = 'rewrite subject' },
  hold = { symbol = 'TEST_HOLD', score = 0.0, force = 'hold' },
  discard = { symbol = 'TEST_DISCARD', score = 0.0, force = 'discard' },
}

for word, verdict in pairs(verdicts) do
  rspamd_config[verdict.symbol] = {
    score = verdict.score,
    group = 'test',
    callback = function(task)
      local subject = task:get_header('Subject')
      if subject and subject:lower():find('[' .. word .. ']', 1, true) then
        if verdict.force then
          task:set_pre_result(verdict.force, verdict.text or 'forced by a test', 'test')
        end
        return true
      end
    end
  }
end

-- [untrace]: what milter_headers.conf can be told to do, and smtpd's own trace must survive.
rspamd_config.TEST_UNTRACE = {
  score = 0.0,
  group = 'test',
  callback = function(task)
    local subject = task:get_header('Subject')
    if subject and subject:find('[untrace]', 1, true) then
      task:set_milter_reply({ remove_headers = { Received = 0 }, change_from = 'other@example.org' })
      return true
    end
  end
}
