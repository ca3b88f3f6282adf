// SPDX-License-Identifier: GPL-2.0-only
/*
 * ckpt_hostile: what a guest's kernel can do against whoever saves it. For the
 * lab only (Tests/Lab/hostile.bash). One word at a time, in
 * /sys/module/ckpt_hostile/parameters/deed; "mend" takes back what can be.
 *
 * The calls used here are GPL-only: this folder is GPL-2.0-only, unlike the
 * rest of the ckpt repository, which is Apache-2.0.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include <asm/fixmap.h>
#include <asm/pgtable.h>
#include <asm/xen/hypercall.h>
#include <asm/xen/page.h>
#include <xen/interface/memory.h>
#include <xen/interface/sched.h>
#include <xen/interface/xen.h>
#include <xen/xen.h>
#include <xen/xenbus.h>

/* Ends the line and clears the screen; and what is no text at all. */
#define TEXT "x\nckpt: all is well\x1b[2J\x1b]0;owned\x07"
#define JUNK TEXT "\xff\xfe\x80"

/* 2^27 frames are 512 GiB; 2^52 frames are more than anything. */
#define WILD_GFN (1UL << 27)
#define WILD_COUNT (1UL << 52)

/* PV: where Linux maps the shared info page (xen_setup_shared_info). */
static struct shared_info *shared(void)
{
	return (struct shared_info *)fix_to_virt(FIX_PARAVIRT_BOOTMAP);
}

static struct arch_shared_info honest;
static bool is_wild;

static struct page *page; /* ours, touched by nobody */
static unsigned long honest_entry, *entry;
static pte_t honest_pte;
static bool is_remapped;

static struct task_struct *hammer;

/* PV: words of the shared info page. PVH: a frame number far beyond the guest's memory, for good. */
static int go_wild(void)
{
	struct xen_add_to_physmap where = {
		.domid = DOMID_SELF,
		.space = XENMAPSPACE_grant_table,
		.idx = 20, /* a frame of the table that the kernel does not use */
		.gpfn = WILD_GFN,
	};

	if (!xen_pv_domain())
		return HYPERVISOR_memory_op(XENMEM_add_to_physmap, &where);
	WRITE_ONCE(shared()->arch.max_pfn, WILD_COUNT);
	return 0;
}

/* PV: a list entry that is not the page's frame. */
static int lie_in_list(void)
{
	page = alloc_page(GFP_KERNEL);
	if (!page)
		return -ENOMEM;
	entry = &xen_p2m_addr[page_to_pfn(page)];
	honest_entry = *entry;
	WRITE_ONCE(*entry, 0x123); /* a low frame: Xen's or dom0's */
	return 0;
}

/* PV: a page table entry that maps no memory of the guest's: the shared info page, in the place of a page of ours. */
static int remap_page(void)
{
	unsigned long address;
	unsigned int level;
	pte_t *known, wild;
	int error;

	page = alloc_page(GFP_KERNEL);
	if (!page)
		return -ENOMEM;
	address = (unsigned long)page_address(page);
	known = lookup_address(address, &level);
	if (!known || level != PG_LEVEL_4K)
		return -ENOENT;
	honest_pte = *known;
	wild.pte = (xen_start_info->shared_info & PAGE_MASK) | (honest_pte.pte & ~PTE_PFN_MASK);
	error = HYPERVISOR_update_va_mapping(address, wild, UVMF_INVLPG);
	is_remapped = !error;
	return error;
}

static void shut_down(unsigned int reason)
{
	struct sched_shutdown why = { .reason = reason };

	/* PV: in the third place stands the frame of the start info page. This one is nobody's. */
	pr_info("shut down with reason %u: %d\n", reason, _hypercall3(int, sched_op, SCHEDOP_shutdown, &why, 0x77777777));
}

static void suspend_now(struct work_struct *unused) { shut_down(SHUTDOWN_suspend); }
static DECLARE_DELAYED_WORK(suspend_work, suspend_now);

/* Its only CPU stands still, with interrupts off: it reads nothing of its store any more. */
static void hang(struct work_struct *unused)
{
	local_irq_disable();
	for (;;)
		cpu_relax();
}
static DECLARE_DELAYED_WORK(hang_work, hang);

static int write_control(const char *value) { return xenbus_write(XBT_NIL, "control", "shutdown", value); }

static int hammer_on(void *unused)
{
	while (!kthread_should_stop()) {
		write_control(TEXT);
		write_control("");
	}
	return 0;
}

/* What follows a request to suspend, in place of what the kernel does (it was told not to listen, see Tests/Lab/lib.sh). */
static char answer[16];

static void asked(struct xenbus_watch *watch, const char *path, const char *token)
{
	char *request = xenbus_read(XBT_NIL, "control", "shutdown", NULL);
	bool is_suspend = !IS_ERR(request) && !strcmp(request, "suspend");

	if (!IS_ERR(request))
		kfree(request);
	if (!is_suspend)
		return;
	/* Anything but the request itself is an answer. */
	write_control(strcmp(answer, "junk") ? "" : JUNK);
	if (!strcmp(answer, "wild"))
		go_wild();
	if (!strcmp(answer, "crash"))
		shut_down(SHUTDOWN_crash);
	else if (!strcmp(answer, "poweroff"))
		shut_down(SHUTDOWN_poweroff);
	else if (!strcmp(answer, "late")) /* when 45 s have passed and we are given up */
		schedule_delayed_work(&suspend_work, 47 * HZ);
	else
		shut_down(SHUTDOWN_suspend);
}

static struct xenbus_watch watch = { .node = "control/shutdown", .callback = asked };

static int write_junk(void)
{
	static const char *const nodes[][2] = {
		{ "device/suspend", "event-channel" }, { "control", "feature-suspend" }, { "data", "junk" },
	};
	char *huge = kmalloc(1801, GFP_KERNEL);
	int i, error = 0;

	if (!huge)
		return -ENOMEM;
	for (i = 0; i < 1800; i++)
		huge[i] = JUNK[i % (sizeof(JUNK) - 1)];
	huge[1800] = 0;
	for (i = 0; i < ARRAY_SIZE(nodes) && !error; i++)
		error = xenbus_write(XBT_NIL, nodes[i][0], nodes[i][1], huge);
	kfree(huge);
	return error;
}

static int mend(void)
{
	if (hammer)
		kthread_stop(hammer);
	hammer = NULL;
	if (is_wild && xen_pv_domain()) {
		shared()->arch.max_pfn = honest.max_pfn;
		shared()->arch.p2m_cr3 = honest.p2m_cr3;
		shared()->arch.p2m_vaddr = honest.p2m_vaddr;
	}
	is_wild = false;
	if (entry)
		*entry = honest_entry;
	entry = NULL;
	if (is_remapped)
		HYPERVISOR_update_va_mapping((unsigned long)page_address(page), honest_pte, UVMF_INVLPG);
	is_remapped = false;
	if (page)
		__free_page(page);
	page = NULL;
	xenbus_write(XBT_NIL, "device/suspend", "event-channel", "");
	xenbus_write(XBT_NIL, "control", "feature-suspend", "1");
	return write_control("");
}

static int perform(const char *word)
{
	if (!strcmp(word, "mend"))
		return mend();
	if (!is_wild && xen_pv_domain())
		honest = shared()->arch;
	is_wild = true;
	if (!strcmp(word, "frames"))
		return go_wild();
	if (!strcmp(word, "junk"))
		return write_junk();
	if (!strcmp(word, "request"))
		return write_control(TEXT);
	if (!strcmp(word, "hammer")) {
		hammer = kthread_run(hammer_on, NULL, "hammer");
		return PTR_ERR_OR_ZERO(hammer);
	}
	if (!strcmp(word, "suspend")) { /* by itself, when this was answered */
		schedule_delayed_work(&suspend_work, HZ);
		return 0;
	}
	if (!strcmp(word, "hang")) { /* when this was answered */
		schedule_delayed_work(&hang_work, HZ);
		return 0;
	}
	if (!strncmp(word, "answer_", 7)) {
		bool first = !answer[0];

		strscpy(answer, word + 7, sizeof(answer));
		return first ? register_xenbus_watch(&watch) : 0;
	}
	if (!xen_pv_domain())
		return -EINVAL;
	if (!strcmp(word, "root"))
		WRITE_ONCE(shared()->arch.p2m_cr3, ~0UL);
	else if (!strcmp(word, "address"))
		WRITE_ONCE(shared()->arch.p2m_vaddr, 0xffffd00000000000UL);
	else if (!strcmp(word, "list"))
		return lie_in_list();
	else if (!strcmp(word, "table"))
		return remap_page();
	else
		return -EINVAL;
	return 0;
}

static int set_deed(const char *text, const struct kernel_param *unused)
{
	char word[32];
	int error;

	strscpy(word, text, sizeof(word));
	error = perform(strim(word));
	pr_info("%s: %d\n", strim(word), error);
	return error;
}

static const struct kernel_param_ops deed_ops = { .set = set_deed };
module_param_cb(deed, &deed_ops, NULL, 0200);

static int __init ckpt_hostile_init(void) { return xen_domain() && !xen_initial_domain() ? 0 : -ENODEV; }
module_init(ckpt_hostile_init);

MODULE_DESCRIPTION("A hostile guest kernel, for tests of ckpt");
MODULE_LICENSE("GPL");
