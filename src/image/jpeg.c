/* Decoder of JPEG pictures over libjpeg-turbo that tells what is wrong with their data. The only caller
 * is src/image/jpeg.rs, which owns all memory that is handed over.
 *
 * libjpeg conceals: after damage it goes on with grey or shifted blocks, and reports a warning. A fatal
 * error must not return to it, hence the longjmp, which is why this file is in C: nothing of Rust's lies
 * between setjmp and longjmp.
 *
 * libjpeg's fast entropy decoder takes an invalid Huffman code for a zero and says nothing: sequential
 * scans are looked at a second time by scan.rs.
 */
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

/* Most scans of a progressive picture. Each costs a pass over the whole picture; encoders write about ten. */
#define SCANS_MAX 100
/* Most bytes that libjpeg may take for a picture's coefficients: 200 megapixels of three components are 1.2 GB. */
#define MEMORY_MAX (1536L << 20)
/* Most unread bytes before a marker that whole pictures have: some USB cameras add 1 to 5. */
#define SURPLUS_MAX 5

/* Kinds of damage; the same numbers stand in jpeg.rs. */
enum damage {
  NO_DAMAGE = 0,
  NO_END = 1,
  DATA_MISSING = 2,
  BAD_CODE = 3,
  LEFT_OVER = 4,
  RESTART_LOST = 5,
  SCANS_MISSING = 6,
  BROKEN = 7,
};

/* Reasons for which a whole picture is not decoded; the same numbers stand in jpeg.rs. */
enum refusal {
  NOT_REFUSED = 0,
  CMYK = 1,
  UNSUPPORTED = 2,
};

/* Findings, written for the caller. The layout is that of `Report` in jpeg.rs. */
struct report {
  uint32_t width;
  uint32_t height;
  /* enum refusal */
  uint32_t refusal;
  /* enum damage: the first one, all others follow from it. */
  uint32_t damage;
  /* Left-over bytes of LEFT_OVER. */
  uint32_t count;
  /* First row that is not as it was sent. */
  uint32_t row;
  /* Bytes that were read when the damage was seen. */
  uint64_t at;
  /* True if rows were written: all of them, some perhaps concealed. */
  uint32_t has_picture;
  /* Rows that were written, from the top. */
  uint32_t rows;
  /* libjpeg's words for a refusal or for damage. */
  char words[JMSG_LENGTH_MAX];
};

/* One decoding. */
struct decoding {
  struct jpeg_decompress_struct jpeg;
  struct jpeg_error_mgr errors;
  struct jpeg_source_mgr source;
  const JOCTET *bytes;
  size_t length;
  /* Bytes that were handed over so far. */
  size_t given;
  jmp_buf fatal;
  struct report *report;
};

static struct decoding *decoding_of(j_common_ptr jpeg) {
  return (struct decoding *)jpeg->client_data;
}

/* Notes the first damage, with its place. */
static void note(struct decoding *d, enum damage damage) {
  struct report *report = d->report;
  if (report->damage != NO_DAMAGE)
    return;

  /* The row of MCUs that the entropy decoder is in, in pixels. A header's damage is at row 0. */
  uint64_t row = 0;
  if (d->jpeg.global_state > 202 && d->jpeg.input_iMCU_row > 0)
    row = (uint64_t)d->jpeg.input_iMCU_row * (uint64_t)d->jpeg.max_v_samp_factor * DCTSIZE;
  report->row = row < report->height ? (uint32_t)row : report->height;
  report->damage = damage;
  report->at = d->given - d->source.bytes_in_buffer;
  d->errors.format_message((j_common_ptr)&d->jpeg, report->words);
}

/* The kind of damage behind a warning. */
static enum damage kind_of(int code) {
  switch (code) {
  case JWRN_JPEG_EOF:
    return NO_END;
  case JWRN_HIT_MARKER:
    return DATA_MISSING;
  case JWRN_HUFF_BAD_CODE:
    return BAD_CODE;
  case JWRN_MUST_RESYNC:
    return RESTART_LOST;
  /* Remarks about tags, which do not concern the picture. A sequential scan needs no spectral range either, and
     the firmware of some cameras leaves it at zero. */
  case JWRN_NOT_SEQUENTIAL:
  case JWRN_ADOBE_XFORM:
  case JWRN_JFIF_MAJOR:
  case JWRN_BOGUS_ICC:
    return NO_DAMAGE;
  default:
    return BROKEN;
  }
}

static void on_message(j_common_ptr jpeg, int level) {
  struct decoding *d = decoding_of(jpeg);
  /* Traces have levels from 0 on, warnings have -1. */
  if (level >= 0)
    return;

  if (jpeg->err->msg_code == JWRN_EXTRANEOUS_DATA) {
    int count = jpeg->err->msg_parm.i[0];
    if (count > SURPLUS_MAX && d->report->damage == NO_DAMAGE) {
      note(d, LEFT_OVER);
      d->report->count = (uint32_t)count;
    }
    return;
  }

  enum damage damage = kind_of(jpeg->err->msg_code);
  if (damage != NO_DAMAGE)
    note(d, damage);
}

/* True for errors that mean a picture of another kind rather than a broken one. */
static int is_unsupported(int code) {
  switch (code) {
  case JERR_ARITH_NOTIMPL:
  case JERR_BAD_PRECISION:
  case JERR_CCIR601_NOTIMPL:
  case JERR_CONVERSION_NOTIMPL:
  case JERR_FRACT_SAMPLE_NOTIMPL:
  case JERR_NOTIMPL:
  case JERR_SOF_UNSUPPORTED:
    return 1;
  default:
    return 0;
  }
}

static void on_fatal(j_common_ptr jpeg) {
  struct decoding *d = decoding_of(jpeg);
  if (is_unsupported(jpeg->err->msg_code)) {
    d->report->refusal = UNSUPPORTED;
    d->errors.format_message(jpeg, d->report->words);
  } else {
    note(d, BROKEN);
  }
  longjmp(d->fatal, 1);
}

static void on_source(j_decompress_ptr jpeg) { (void)jpeg; }

static boolean on_empty(j_decompress_ptr jpeg) {
  static const JOCTET end[] = {0xFF, JPEG_EOI};
  struct decoding *d = decoding_of((j_common_ptr)jpeg);
  size_t rest = d->length - d->given;
  if (rest == 0) {
    /* Beyond the last byte stands an end marker, so that the decoder fills up and comes to an end. */
    d->source.bytes_in_buffer = 0;
    WARNMS(jpeg, JWRN_JPEG_EOF);
    d->source.next_input_byte = end;
    d->source.bytes_in_buffer = sizeof end;
    return TRUE;
  }

  /* All at once. */
  d->source.next_input_byte = d->bytes;
  d->source.bytes_in_buffer = rest;
  d->given = d->length;
  return TRUE;
}

static void on_skip(j_decompress_ptr jpeg, long count) {
  while (count > 0 && (size_t)count > jpeg->src->bytes_in_buffer) {
    count -= (long)jpeg->src->bytes_in_buffer;
    on_empty(jpeg);
    /* A segment whose length leads beyond the end: the end marker is not skipped. */
    if (decoding_of((j_common_ptr)jpeg)->report->damage == NO_END)
      return;
  }
  if (count > 0) {
    jpeg->src->next_input_byte += count;
    jpeg->src->bytes_in_buffer -= (size_t)count;
  }
}

/* Sets up a decoding in its place; nothing of it may move afterwards. */
static void begin(struct decoding *d, const uint8_t *bytes, size_t length, struct report *report) {
  memset(d, 0, sizeof *d);
  memset(report, 0, sizeof *report);
  d->bytes = bytes;
  d->length = length;
  d->report = report;
  d->jpeg.err = jpeg_std_error(&d->errors);
  d->errors.error_exit = on_fatal;
  d->errors.emit_message = on_message;
  d->jpeg.client_data = d;
}

/* Reads the header. */
static void read_header(struct decoding *d) {
  jpeg_create_decompress(&d->jpeg);
  d->jpeg.mem->max_memory_to_use = MEMORY_MAX;
  d->source.init_source = on_source;
  d->source.fill_input_buffer = on_empty;
  d->source.skip_input_data = on_skip;
  d->source.resync_to_restart = jpeg_resync_to_restart;
  d->source.term_source = on_source;
  d->jpeg.src = &d->source;
  jpeg_read_header(&d->jpeg, TRUE);
  d->report->width = d->jpeg.image_width;
  d->report->height = d->jpeg.image_height;
  J_COLOR_SPACE colours = d->jpeg.jpeg_color_space;
  if (colours == JCS_CMYK || colours == JCS_YCCK)
    d->report->refusal = CMYK;
}

/* Reads all scans of a picture that has several, and checks that none is missing. */
static void read_scans(struct decoding *d) {
  j_decompress_ptr jpeg = &d->jpeg;
  uint32_t seen = 0;
  int scans = 0;
  int step = JPEG_REACHED_SOS;
  while (step != JPEG_REACHED_EOI) {
    if (step == JPEG_REACHED_SOS) {
      for (int i = 0; i < jpeg->comps_in_scan; i++)
        seen |= 1u << jpeg->cur_comp_info[i]->component_index;
      if (++scans > SCANS_MAX) {
        note(d, BROKEN);
        snprintf(d->report->words, sizeof d->report->words, "more than %d scans", SCANS_MAX);
        return;
      }
    }
    step = jpeg_consume_input(jpeg);
  }

  /* Of a progressive picture, 0 means that all bits of a coefficient came. */
  int is_whole = seen == (1u << jpeg->num_components) - 1;
  if (jpeg->coef_bits != NULL) {
    for (int i = 0; i < jpeg->num_components; i++)
      for (int k = 0; k < DCTSIZE2; k++)
        is_whole = is_whole && jpeg->coef_bits[i][k] == 0;
  }
  if (!is_whole && d->report->damage == NO_DAMAGE) {
    d->report->damage = SCANS_MISSING;
    d->report->at = d->given - d->source.bytes_in_buffer;
  }
}

/* Reads width and height, and whether the picture can be decoded at all. */
void winspect_jpeg_header(const uint8_t *bytes, size_t length, struct report *report) {
  struct decoding d;
  begin(&d, bytes, length, report);
  if (setjmp(d.fatal) == 0)
    read_header(&d);
  /* Also of a header that libjpeg refused: the caller refuses a picture that is too large in words of its own. */
  report->width = d.jpeg.image_width;
  report->height = d.jpeg.image_height;
  jpeg_destroy_decompress(&d.jpeg);
}

/* Decodes to `rgb`, which has room for 3 * width * height bytes of the header. */
void winspect_jpeg_decode(const uint8_t *bytes, size_t length, uint8_t *rgb, struct report *report) {
  struct decoding d;
  begin(&d, bytes, length, report);
  if (setjmp(d.fatal) == 0) {
    j_decompress_ptr jpeg = &d.jpeg;
    read_header(&d);
    jpeg->out_color_space = JCS_RGB;
    jpeg->buffered_image = jpeg_has_multiple_scans(jpeg);
    jpeg_start_decompress(jpeg);
    if (jpeg->buffered_image) {
      read_scans(&d);
      jpeg_start_output(jpeg, jpeg->input_scan_number);
    }

    report->has_picture = 1;
    size_t stride = (size_t)jpeg->output_width * 3;
    while (jpeg->output_scanline < jpeg->output_height) {
      JSAMPROW rows[4];
      for (int i = 0; i < 4; i++)
        rows[i] = rgb + stride * (jpeg->output_scanline + (size_t)i);
      JDIMENSION left = jpeg->output_height - jpeg->output_scanline;
      jpeg_read_scanlines(jpeg, rows, left < 4 ? left : 4);
      report->rows = jpeg->output_scanline;
    }

    if (jpeg->buffered_image)
      jpeg_finish_output(jpeg);
    /* Reads on to the end marker: left-over data and a missing end are found here. */
    jpeg_finish_decompress(jpeg);
  }
  jpeg_destroy_decompress(&d.jpeg);
}
