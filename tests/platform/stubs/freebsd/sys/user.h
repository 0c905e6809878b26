// Of FreeBSD's <sys/user.h>, what platform/system/freebsd.cpp asks for.
#pragma once

#include <sys/time.h>
#include <sys/types.h>

struct kinfo_proc {
  pid_t ki_pid;
  pid_t ki_ppid;
  struct timeval ki_start;
  char ki_comm[19 + 1];
};
