// What Swift needs of Xen's C libraries and cannot spell by itself. No logic.
#ifndef CKPT_CXEN_SHIM_H
#define CKPT_CXEN_SHIM_H

#include <errno.h>
#include <xenctrl.h>
#include <xendevicemodel.h>
#include <xenevtchn.h>
#include <xenforeignmemory.h>
#include <xenguest.h>
#include <xenstore.h>

// Exported by libxenctrl 4.17 (VERS_4.17.0) but declared only in its private header.
int xc_get_pfn_type_batch(xc_interface *xch, uint32_t dom, unsigned int num, xen_pfn_t *arr);

// DECLARE_HYPERCALL_BUFFER is a macro that Swift does not import.
static inline xc_hypercall_buffer_t ckpt_hypercall_buffer(void) {
  xc_hypercall_buffer_t buffer = {.hbuf = NULL, .param_shadow = NULL, HYPERCALL_BUFFER_INIT_NO_BOUNCE};
  return buffer;
}

#endif
