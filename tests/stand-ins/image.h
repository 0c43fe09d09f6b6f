// The image that the stand-in NVRTC gives as PTX or machine code, and the stand-in driver loads: a text that names the
// compiled kernels.
//
//   winspect stand-in image
//   capability 87
//   half 1
//   kernel gather
//   end
#pragma once
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace host {

// The compute capability of the stand-in, without its dot: an Orin's.
constexpr int CAPABILITY = 87;
constexpr const char IMAGE_MAGIC[] = "winspect stand-in image\n";

struct Image {
    int capability = CAPABILITY;
    bool half = false;
    std::vector<std::string> kernels;
};

inline std::string write_image(const Image& image) {
    std::string text = IMAGE_MAGIC;
    text += "capability " + std::to_string(image.capability) + "\n";
    text += "half " + std::to_string(int(image.half)) + "\n";
    for (const std::string& kernel : image.kernels) text += "kernel " + kernel + "\n";
    return text + "end\n";
}

// False for a text that is no image. The text need not end with a zero.
inline bool read_image(const char* text, Image& image) {
    if (text == nullptr || std::strncmp(text, IMAGE_MAGIC, sizeof(IMAGE_MAGIC) - 1) != 0) return false;
    text += sizeof(IMAGE_MAGIC) - 1;
    while (std::strncmp(text, "end\n", 4) != 0) {
        size_t length = std::strcspn(text, "\n");
        std::string line(text, length);
        if (text[length] == '\0') return false;
        text += length + 1;
        if (line.rfind("capability ", 0) == 0) image.capability = std::atoi(line.c_str() + 11);
        else if (line.rfind("half ", 0) == 0) image.half = line == "half 1";
        else if (line.rfind("kernel ", 0) == 0) image.kernels.push_back(line.substr(7));
        else return false;
    }
    return true;
}

} // namespace host
