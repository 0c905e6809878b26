// smtpd (protocol 0.6, as Debian 12's): leads sessions through one mail each, several interleaved, and judges what comes back.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "bench/io.hpp"
#include "bench/rspamd.hpp"
#include "tests/support/filter_process.hpp"

namespace mailbridge::bench {

// A mail of this many bytes as smtpd hands it over: lines without line ends, its own Received field first.
std::vector<std::string> make_mail(std::size_t size);
// One that comes a byte at a time: each byte is a line, because smtpd passes on whole lines.
std::vector<std::string> make_drip(std::size_t lines);

// A wrong, doubled or missing answer, or a mail that came back altered, ends the run (fail()).
class Smtpd {
 public:
  // Both must outlive it.
  Smtpd(test::FilterProcess& filter, Rspamd& rspamd);

  // Delivers the mail `count` times, `in_flight` at once. The milliseconds that each took, from connection to end.
  std::vector<double> deliver(const std::vector<std::string>& mail, std::size_t count, std::size_t in_flight);

  // Opens sessions of clients that have said EHLO and nothing more.
  void open_idle(std::size_t count);

  // A client that sends a line of one byte now and then, beside all that is delivered, until finish_drip(). `mail` must live
  // until then.
  void begin_drip(const std::vector<std::string>& mail);
  void finish_drip();

 private:
  struct Session {
    std::string id;
    const std::vector<std::string>* mail;
    std::size_t last;  // the stage to stop before
    bool drips;
    Clock::time_point begun;
    std::size_t next = 0;  // the next stage
    std::string awaited;   // the phase that was asked about
    std::string sending;   // data-lines not yet written
    std::size_t sent = 0;
    std::vector<std::string> returned;
  };

  void begin(const std::vector<std::string>& mail, std::size_t last, bool drips = false);
  void advance(Session& session);
  void send_mail(Session& session, const std::string& prefix);
  void drip();
  void fill();
  template <class Reached>
  void run_until(Reached reached);
  void write_out();
  void read_in();
  void on_line(std::string_view line);
  void judge(Session& session) const;

  test::FilterProcess& filter_;
  Rspamd& rspamd_;
  std::string out_;
  std::size_t out_from_ = 0;
  std::string held_;
  std::string last_logged_;
  bool ready_ = false;
  std::set<std::string, std::less<>> reports_, phases_;
  std::unordered_map<std::string, Session> sessions_;
  std::deque<std::string> senders_;
  const std::vector<std::string> no_mail_;
  std::vector<double> took_ms_;
  std::size_t idle_ = 0;
  std::optional<std::string> drip_;
  Clock::time_point next_drip_ = Clock::time_point::max();
  std::uint64_t serial_ = 0;
};

}  // namespace mailbridge::bench
