/* The floor: what the protocol alone costs. Every data-line goes straight back, every commit proceeds, nothing is scanned. */
#include <string.h>
#include <unistd.h>

static char in[1 << 17], out[1 << 18];
static size_t filled, used;

static void flush_out(void) {
  for (size_t done = 0; done < used;) {
    const ssize_t n = write(1, out + done, used - done);
    if (n <= 0) _exit(1);
    done += (size_t)n;
  }
  used = 0;
}

static void put(const char* bytes, size_t n) {
  if (used + n > sizeof out) flush_out();
  memcpy(out + used, bytes, n);
  used += n;
}

/* filter|VERSION|TIME|smtp-in|PHASE|SESSION|TOKEN|…; an answer is filter-result|SESSION|TOKEN|… from protocol 0.5 on. */
static void on_line(const char* line, size_t n) {
  static const char registrations[] = "register|filter|smtp-in|data-line\nregister|filter|smtp-in|commit\nregister|ready\n";
  if (n == 12 && memcmp(line, "config|ready", 12) == 0) put(registrations, sizeof registrations - 1);
  if (n < 7 || memcmp(line, "filter|", 7) != 0) return;
  const char* field[8];
  const char* at = line;
  for (int i = 0; i < 8; ++i) {
    field[i] = at;
    if (i < 7 && !(at = memchr(at, '|', (size_t)(line + n - at)))) return;
    ++at;
  }
  if (memcmp(field[4], "data-line|", 10) == 0) {
    put("filter-dataline|", 16);
    put(field[5], (size_t)(line + n - field[5]));
    put("\n", 1);
  } else {
    put("filter-result|", 14);
    put(field[5], (size_t)(field[7] - field[5]));
    put("proceed\n", 8);
  }
}

int main(void) {
  for (;;) {
    const ssize_t n = read(0, in + filled, sizeof in - filled);
    if (n <= 0) return n < 0;
    filled += (size_t)n;
    size_t from = 0;
    for (const char* lf; (lf = memchr(in + from, '\n', filled - from)); from = (size_t)(lf - in) + 1) {
      on_line(in + from, (size_t)(lf - in) - from);
    }
    memmove(in, in + from, filled -= from);
    if (filled == sizeof in) return 1;
    flush_out();
  }
}
