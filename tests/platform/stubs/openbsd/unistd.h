// What OpenBSD's <unistd.h> has besides.
#pragma once

#include_next <unistd.h>

extern "C" int pledge(const char* promises, const char* exec_promises);
extern "C" int unveil(const char* path, const char* permissions);
