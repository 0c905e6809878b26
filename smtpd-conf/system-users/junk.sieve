# Runs before every user's own script. What rspamd calls spam goes into Junk; the user's own rules do not see it.
# After a change: sievec /etc/dovecot/junk.sieve
require ["fileinto"];

if header :is "X-Spam" "Yes" {
  fileinto "Junk";
  stop;
}
